"""What django-allauth asks this site."""

import time
from hashlib import sha256

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.redirects import turn_away
from orgadmin.gate.answers import Gate
from orgadmin.models import User

NO_ACCOUNT = _(
    "There is no account for you here, or it has no access. Ask whoever runs this site."
)


FAILED = _("Signing in did not work. Try again, or use your password.")


RECENT = 10 * 60  # seconds: who changes their second factor signed in not longer ago


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
                User.objects.find_by_email(email)
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
