"""Adapters that change how django-allauth signs people in.

django-allauth calls these methods. The settings ACCOUNT_ADAPTER and MFA_ADAPTER name
the classes.
"""

from dataclasses import dataclass
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.functional import Promise
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import round_trips
from orgadmin.accounts.company.sessions import has_signed_out
from orgadmin.accounts.devices import remember_device
from orgadmin.accounts.own_pages import find_home, leads_to_own_page
from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.accounts.sessions import kept_forms, sessions
from orgadmin.models import User
from orgadmin.records import encryption

NO_ACCOUNT = _(
    "You do not have an account here, or your account is deactivated. Ask platform"
    " staff for access."
)

SIGN_IN_AGAIN = _("Your account was changed while you were signing in. Sign in again.")


def make_refusal(request: HttpRequest, error: str | Promise) -> ImmediateHttpResponse:
    """Return the exception that ends a sign-in, with an error on the sign-in page."""
    return ImmediateHttpResponse(redirect_to_sign_in(request, error))


class AccountAdapter(DefaultAccountAdapter):
    """Decides who can sign in, and starts their sessions.

    Every way to sign in begins with a call of `pre_login` and ends with a call of
    `login`, which contains the last checks. In between, people may enter a code.
    """

    def is_open_for_signup(self, request):
        return False

    def is_safe_url(self, url):
        # Only URLs on the host of the request are safe. django-allauth would accept all
        # of ALLOWED_HOSTS, where an entry can stand for all subdomains of a domain. The
        # slash is required because Django's redirect() would interpret a text without
        # one as the name of a view.
        request = context.request
        return url.startswith("/") and url_has_allowed_host_and_scheme(
            url, {request.get_host()}, require_https=request.is_secure()
        )

    def pre_login(self, request, user, **options):
        request.session["sign_in_epoch"] = user.session_epoch
        return super().pre_login(request, user, **options)

    def login(self, request, user):
        """Start the session of someone who has passed all steps of a sign-in.

        The session gets a new key. Of the visitor's session, it only keeps a form that
        the person had sent, and the trips to a provider in other tabs. Raises
        `ImmediateHttpResponse` if the person cannot sign in.
        """
        if not user.is_active:
            details = {"step": "access"}
            record(SecurityEvent.SIGN_IN_FAILED, user=user, details=details)
            raise make_refusal(request, NO_ACCOUNT)
        # The account may have been deactivated since the first step, for example.
        if request.session.get("sign_in_epoch") != user.session_epoch:
            raise make_refusal(request, SIGN_IN_AGAIN)
        sign_in = describe_sign_in(request, user)
        if sign_in.company is not None and has_signed_out(sign_in.company):
            raise make_refusal(request, SIGN_IN_AGAIN)
        is_returning = sessions.is_returning(request.session, user)
        csrf_secret = request.META.get("CSRF_COOKIE")
        kept_form = request.session.get(kept_forms.SESSION_KEY)
        trips = round_trips.copy_trips(request.session)
        request.session.flush()
        super().login(request, user)
        round_trips.restore_trips(trips, request.session)
        kept_forms.restore_form(kept_form, request.session, user)
        if is_returning and csrf_secret:
            # Forms that the same person has opened in other tabs stay valid.
            request.META["CSRF_COOKIE"] = csrf_secret
        if sign_in.factor is not None:
            request.session["second_factor"] = sign_in.factor
        if sign_in.asked_at is not None:
            sessions.record_asked(request.session, sign_in.asked_at)
        if sign_in.company is not None:
            request.session["company"] = sign_in.company
        record(SecurityEvent.SIGNED_IN, user=user, actor=user, details=sign_in.details)

    def post_login(self, request, user, **options):
        """Redirect to the kept form, the wanted page or home. Remember the device.

        People without access to an organization are only redirected to pages about
        their account.
        """
        kept_form = kept_forms.find_kept_form(request)
        if kept_form is not None:
            options["redirect_url"] = kept_form.path
        response = super().post_login(request, user, **options)
        home = find_home(user)
        if home != "admin:index" and not leads_to_own_page(response.url):
            response = redirect(home)
        remember_device(response, user)
        return response

    def is_reauthentication_required(self, app):
        # This never happens on our pages, because StepUpMiddleware asks before.
        return not sessions.is_sign_in_recent(context.request.session)

    def get_reauthentication_methods(self, user):
        """Return no methods, so that django-allauth refuses the request.

        Otherwise, it would store the request in the session, including any codes.
        """
        return []


@dataclass(frozen=True)
class SignIn:
    """How someone has signed in."""

    method: str
    # The session's value "second_factor", see sessions/sessions.py.
    factor: dict[str, Any] | None
    # When the company's server last asked for the password, in seconds since 1970. None
    # if this is not known.
    asked_at: float | None
    # A `CompanySession`, as a dict.
    company: dict[str, Any] | None

    @property
    def details(self) -> dict[str, str]:
        factor = self.factor["type"] if self.factor else ""
        return {"method": self.method, "factor": factor}


def describe_sign_in(request: HttpRequest, user: User) -> SignIn:
    """Return how the user signs in, from django-allauth's records in the session."""
    # django-allauth has no record of a sign-in with a link from an email, such as an
    # invitation.
    method = "link"
    factor = None
    asked_at = None
    company = None
    for step in get_authentication_records(request, user):
        if step["method"] == "mfa":
            factor = {"id": step["id"], "type": step["type"]}
            if step.get("passwordless"):
                method = "passkey"
        else:
            method = step["method"]
            asked_at = step.get("signed_in_at")
            company = step.get("company")
    return SignIn(method, factor, asked_at, company)


class MFAAdapter(DefaultMFAAdapter):
    """Encrypts the secrets of second factors.

    If the setting SECOND_FACTOR is "off", nobody has to use their second factor.
    """

    def encrypt(self, text):
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text):
        return encryption.decrypt(encrypted_text)

    def is_mfa_enabled(self, user, types=None):
        if settings.SECOND_FACTOR == "off":
            return False
        return super().is_mfa_enabled(user, types)
