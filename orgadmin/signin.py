"""Signing in: by password or by the company's own server (OpenID Connect), then a second factor for who has one.
Whichever way, only for a person who may enter; who may not is told what a wrong password tells."""

from datetime import timedelta

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import perform_login
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter, get_adapter
from allauth.mfa.base.forms import AuthenticateForm
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import logout
from django.contrib.auth.views import LoginView
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import throttle
from .access import Gate
from .models import User

NO_ACCOUNT = _("There is no account for you here, or it has no access. Ask whoever runs this site.")
FAILED = _("Signing in did not work. Try again, or use your password.")
RECENT = timedelta(minutes=10)  # since who changes their second factor signed in


def lacks_second_factor(user):
    """Tell whether it is required of this person, who has none yet."""
    required = settings.SECOND_FACTOR == "staff" and (user.is_superuser or user.is_staff)
    return required and not get_adapter().is_mfa_enabled(user)


class SignInForm(AdminAuthenticationForm):
    """Lets in whoever may enter, staff or not. The refusal reads like that of a wrong password."""

    refusal = _("Please enter the correct username and password. Both may be case-sensitive.")
    error_messages = AdminAuthenticationForm.error_messages | {"invalid_login": refusal}

    def clean(self):
        username, address = self.cleaned_data.get("username") or "", throttle.find_address(self.request)
        tries = username and self.cleaned_data.get("password")  # else nothing is asked
        if tries and not throttle.is_allowed(username, address):
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
        return perform_login(self.request, form.get_user(), redirect_url=self.get_success_url())


class AccountAdapter(DefaultAccountAdapter):
    """The last word on each way in."""

    def is_open_for_signup(self, request):
        return False

    def pre_login(self, request, user, **kwargs):
        if not Gate(user).may_enter:
            return turn_away(request, NO_ACCOUNT)

    def is_reauthentication_required(self, app):
        return context.request.user.last_login < timezone.now() - RECENT

    def get_reauthentication_methods(self, user):
        messages.info(context.request, _("You signed in a while ago. To go on, sign in again."))
        return [{"url": reverse("admin:login")}]


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Whom the company's server vouches for: the account that came this way before, else the one with that address,
    if the server says that it is confirmed. Nobody is created."""

    def pre_social_login(self, request, sociallogin):
        user, known = sociallogin.user, sociallogin.is_existing
        if not known:
            emails = [address.email for address in sociallogin.email_addresses if address.verified]
            user = User.objects.with_email(emails[0]) if emails else None
        if user is None or not Gate(user).may_enter or sociallogin.state.get("process") != "login":
            raise ImmediateHttpResponse(turn_away(request, NO_ACCOUNT))
        if not known:
            sociallogin.connect(request, user)

    def on_authentication_error(self, request, provider, error=None, exception=None, extra_context=None):
        raise ImmediateHttpResponse(turn_away(request, FAILED))


class MFAAdapter(DefaultMFAAdapter):
    def is_mfa_enabled(self, user, types=None):
        return settings.SECOND_FACTOR != "off" and super().is_mfa_enabled(user, types)


class CodeForm(AuthenticateForm):
    """Ten wrong codes in a quarter of an hour, and each code once, in whichever process."""

    def clean_code(self):
        wrong = get_adapter().validation_error("incorrect_code")
        if not throttle.is_allowed("code", self.user.pk):
            raise wrong
        code = super().clean_code()
        if not throttle.is_allowed(f"code {code}", self.user.pk, limit=1):
            raise wrong
        throttle.forget_attempts("code", self.user.pk)
        return code


def turn_away(request, text):
    messages.error(request, text)
    return redirect("admin:login")
