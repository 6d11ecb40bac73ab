"""How django-allauth signs people in on this site.

django-allauth calls these methods. The settings ACCOUNT_ADAPTER, SOCIALACCOUNT_ADAPTER
and MFA_ADAPTER name the classes.
"""

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.gate.answers import Gate
from orgadmin.models import User
from orgadmin.records import encryption

NO_ACCOUNT = _(
    "You do not have an account here, or your account has no access. Ask the people who"
    " run this site for access."
)
FAILED = _("Sign-in failed. Try again, or sign in with your password.")

# People whose sign-in is older than this must sign in again before they can change
# their second factor.
RECENT_SIGN_IN = 10 * 60  # seconds


def make_refusal(request: HttpRequest, error: str | Promise) -> ImmediateHttpResponse:
    """Return the exception that ends a sign-in, with an error on the sign-in page."""
    return ImmediateHttpResponse(redirect_to_sign_in(request, error))


class AccountAdapter(DefaultAccountAdapter):
    """Decides who can sign in, and when people have to sign in again.

    Every way to sign in ends with a call of `login`, so the last check is there.
    """

    def is_open_for_signup(self, request):
        return False

    def is_safe_url(self, url):
        # django-allauth would also accept the other hosts in ALLOWED_HOSTS. An entry
        # there can stand for all subdomains of a domain.
        request = context.request
        return url_has_allowed_host_and_scheme(
            url, {request.get_host()}, require_https=request.is_secure()
        )

    def login(self, request, user):
        if not Gate(user).may_enter:
            raise make_refusal(request, NO_ACCOUNT)
        super().login(request, user)
        request.session["signed_in"] = time.time()

    def is_reauthentication_required(self, app):
        signed_in = context.request.session.get("signed_in", 0)
        return signed_in < time.time() - RECENT_SIGN_IN

    def get_reauthentication_methods(self, user):
        """Return where people sign in again, and tell them on that page why.

        django-allauth calls this when `is_reauthentication_required()` has returned
        True, and redirects to the URL of the first method.
        """
        messages.info(
            context.request,
            _("You signed in a while ago. To continue, sign in again."),
        )
        return [{"url": reverse("admin:login")}]


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Signs people in with the company's OpenID provider.

    The first sign-in links the person at the provider to the account that has their
    confirmed email address. Later sign-ins use the linked account. No account is ever
    created.
    """

    def populate_user(self, request, sociallogin, data):
        """Store the ID of the person, and nothing else that the provider sent.

        During the sign-in, `sociallogin.claims` has what the provider sent.
        """
        account = sociallogin.account
        id_token = account.extra_data.get("id_token") or {}
        userinfo = account.extra_data.get("userinfo") or {}
        subject = id_token.get("sub")
        if not isinstance(subject, str):
            raise make_refusal(request, FAILED)
        # OpenID Connect Core, section 5.3.2: claims about another subject must not be
        # used.
        if userinfo.get("sub", subject) != subject:
            raise make_refusal(request, FAILED)
        # The ID includes the URL of the provider. If the site changes its provider, a
        # person at the new one never has the ID of a person at the old one.
        account.uid = sha256(f"{settings.OIDC_SERVER}\n{subject}".encode()).hexdigest()
        account.extra_data = {}
        sociallogin.claims = id_token | userinfo

    def pre_social_login(self, request, sociallogin):
        """Refuse people who may not enter, and link the accounts of the others."""
        linked = sociallogin.is_existing
        user = sociallogin.user if linked else find_user(sociallogin.claims)
        if user is None or not Gate(user).may_enter:
            raise make_refusal(request, NO_ACCOUNT)
        # In any other process, django-allauth would link the person at the provider to
        # the user who is signed in.
        if sociallogin.state.get("process") != "login":
            raise make_refusal(request, NO_ACCOUNT)
        if not linked:
            # sociallogin.connect() would save all fields of the user. That would undo
            # what someone else has changed since the user was loaded.
            sociallogin.user = user
            sociallogin.account.user = user
            sociallogin.account.save()

    def on_authentication_error(
        self, request, provider, error=None, exception=None, extra_context=None
    ):
        raise make_refusal(request, FAILED)


def find_user(claims: Mapping[str, Any]) -> User | None:
    """Return the user with the email address in the claims.

    Returns None if there is no such user, or if the address is not confirmed.
    """
    email = claims.get("email")
    if not isinstance(email, str) or not is_email_confirmed(claims):
        return None
    return User.objects.find_by_email(email)


def is_email_confirmed(claims: Mapping[str, Any]) -> bool:
    confirmed = claims.get("email_verified")
    if confirmed is None:
        return settings.OIDC_TRUST_EMAIL
    # Some providers send the string "true".
    return str(confirmed).lower() == "true"


class MFAAdapter(DefaultMFAAdapter):
    """Encrypts the secrets of second factors.

    Ignores second factors if the setting SECOND_FACTOR is "off".
    """

    def encrypt(self, text):
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text):
        return encryption.decrypt(encrypted_text)

    def is_mfa_enabled(self, user, types=None):
        if settings.SECOND_FACTOR == "off":
            return False
        return super().is_mfa_enabled(user, types)
