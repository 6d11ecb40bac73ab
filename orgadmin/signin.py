"""Signing in: by password or by the company's own server (OpenID Connect), then a second factor for who has one.
Whichever way, only for a person who may enter; who may not is told what a wrong password tells."""

import time
from hashlib import sha256

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import perform_login
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import DefaultMFAAdapter, get_adapter
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import logout
from django.contrib.auth.views import LoginView
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from . import throttle
from .access import Gate
from .models import User

NO_ACCOUNT = _(
    "There is no account for you here, or it has no access. Ask whoever runs this site."
)
FAILED = _("Signing in did not work. Try again, or use your password.")
RECENT = 10 * 60  # seconds: who changes their second factor signed in not longer ago
FREE = (
    "account_login",
    "account_logout",
    "mfa_activate_totp",
)  # pages for who has no second factor yet


class SecondFactorMiddleware(MiddlewareMixin):
    """Lets a session go on only where it showed a second factor, if the person has one; and leads platform staff who
    must have one to where they get it. Sessions from before somebody set theirs up end here."""

    def process_view(self, request, view, args, kwargs):
        user = request.user
        if settings.SECOND_FACTOR == "off" or not user.is_authenticated:
            return None
        shown = request.session.get("second_factor")
        required = settings.SECOND_FACTOR == "staff" and (
            user.is_superuser or user.is_staff
        )
        if shown and not required:
            return None
        if get_adapter().is_mfa_enabled(user, ["totp"]):
            if not shown:
                logout(request)
                return turn_away(request, _("Sign in again, with your second factor."))
        elif required and request.resolver_match.url_name not in FREE:
            messages.info(
                request,
                _(
                    "Platform staff sign in with a second factor. Set yours up to go on."
                ),
            )
            return redirect("mfa_activate_totp")


class SignInForm(AdminAuthenticationForm):
    """Lets in whoever may enter, staff or not. The refusal reads like that of a wrong password."""

    refusal = _(
        "Please enter the correct username and password. Both may be case-sensitive."
    )
    error_messages = AdminAuthenticationForm.error_messages | {"invalid_login": refusal}

    def clean(self):
        username, address = (
            self.cleaned_data.get("username") or "",
            throttle.find_address(self.request),
        )
        if (
            username
            and self.cleaned_data.get("password")
            and not throttle.is_allowed(username, address)
        ):
            raise self.get_invalid_login_error()
        cleaned = super().clean()
        if self.get_user():
            throttle.forget_attempts(username, address)
        return cleaned

    def confirm_login_allowed(self, user):
        if not Gate(user).may_enter:
            raise self.get_invalid_login_error()


class SignInView(LoginView):
    form_class = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form):
        logout(self.request)  # who signs in again is asked for everything
        return perform_login(
            self.request, form.get_user(), redirect_url=self.get_success_url()
        )


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request):
        return False

    def is_safe_url(self, url):  # allauth's own trusts all of ALLOWED_HOSTS
        request = context.request
        return url_has_allowed_host_and_scheme(
            url, {request.get_host()}, require_https=request.is_secure()
        )

    def login(self, request, user):
        if not Gate(user).may_enter:
            raise ImmediateHttpResponse(turn_away(request, NO_ACCOUNT))
        super().login(request, user)
        request.session["signed_in"] = time.time()

    def is_reauthentication_required(self, app):
        return context.request.session.get("signed_in", 0) < time.time() - RECENT

    def get_reauthentication_methods(self, user):
        messages.info(
            context.request, _("You signed in a while ago. To go on, sign in again.")
        )
        return [{"url": reverse("admin:login")}]


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Whom the company's server vouches for: the account that came this way before, else the one with that address,
    if the server says that it is confirmed. Nobody is created."""

    def populate_user(self, request, sociallogin, data):
        """Keep of what the server says nothing but who it is, by a key that another server's is never."""
        account = sociallogin.account
        token, told = (
            account.extra_data.get(part) or {} for part in ("id_token", "userinfo")
        )
        sub = token.get("sub")
        if (
            not isinstance(sub, str) or told.get("sub", sub) != sub
        ):  # as OpenID Connect Core, 5.3.2, asks
            raise ImmediateHttpResponse(turn_away(request, FAILED))
        account.uid = sha256(f"{settings.OIDC_SERVER}\n{sub}".encode()).hexdigest()
        account.extra_data, sociallogin.claims = {}, token | told

    def pre_social_login(self, request, sociallogin):
        user, known = sociallogin.user, sociallogin.is_existing
        email, said = (
            sociallogin.claims.get(name) for name in ("email", "email_verified")
        )
        if not known:
            confirmed = (
                str(said).lower() == "true"
                or settings.OIDC_TRUST_EMAIL
                and said is None
            )
            user = (
                User.objects.with_email(email)
                if confirmed and isinstance(email, str)
                else None
            )
        if (
            user is None
            or not Gate(user).may_enter
            or sociallogin.state.get("process") != "login"
        ):
            raise ImmediateHttpResponse(turn_away(request, NO_ACCOUNT))
        if (
            not known
        ):  # not by connect(), which saves the person as they were when they were read
            sociallogin.user = sociallogin.account.user = user
            sociallogin.account.save()

    def on_authentication_error(
        self, request, provider, error=None, exception=None, extra_context=None
    ):
        raise ImmediateHttpResponse(turn_away(request, FAILED))


class MFAAdapter(DefaultMFAAdapter):
    def is_mfa_enabled(self, user, types=None):
        return settings.SECOND_FACTOR != "off" and super().is_mfa_enabled(user, types)


class Once:
    """Takes ten wrong codes in a quarter of an hour, and each code once, in whichever process."""

    def clean_code(self):
        wrong, user = get_adapter().validation_error("incorrect_code"), self.user.pk
        if not throttle.is_allowed("code", user):
            raise wrong
        code = super().clean_code()
        if not throttle.is_allowed(f"code {normalize_user_code(code)}", user, limit=1):
            raise wrong
        throttle.forget_attempts("code", user)
        context.request.session["second_factor"] = True
        return code


class CodeForm(Once, AuthenticateForm): ...


class SetUpForm(Once, ActivateTOTPForm): ...


def turn_away(request, text):
    messages.error(request, text)
    return redirect("admin:login")
