"""How django-allauth signs people in on this site.

django-allauth calls these methods. The settings ACCOUNT_ADAPTER and MFA_ADAPTER name
the classes.
"""

import time

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.devices import remember_device
from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.people.invitations import may_sign_in
from orgadmin.records import encryption

NO_ACCOUNT = _(
    "You do not have an account here, or your account has no access. Ask the people who"
    " run this site for access."
)

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
        if not may_sign_in(user):
            raise make_refusal(request, NO_ACCOUNT)
        super().login(request, user)
        request.session["signed_in"] = time.time()

    def post_login(self, request, user, **options):
        response = super().post_login(request, user, **options)
        remember_device(response, user)
        return response

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
