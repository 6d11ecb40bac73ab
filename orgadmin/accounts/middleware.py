"""Middleware that ends sessions and requires second factors and recent sign-ins."""

from django.conf import settings
from django.contrib import messages
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.preferences import PATHS_WITHOUT_SESSION
from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.accounts.second_factor import passkeys
from orgadmin.accounts.sessions import sessions
from orgadmin.accounts.sessions.expired_session_forms import ask_to_sign_in
from orgadmin.accounts.sessions.kept_forms import drop_expired_form
from orgadmin.accounts.set_up_link import SET_UP_URLS, is_open, store_wanted_page
from orgadmin.accounts.step_up import ask_for_recent_sign_in
from orgadmin.models import User
from orgadmin.people.second_factors import has_second_factor

# Names of the URLs that platform staff can open before they set up a second factor.
URLS_ALLOWED_BEFORE_SETUP = (
    "account_login",
    "account_logout",
    "language",
    "mfa_login_webauthn",
    "mfa_open_set_up_link",
    "mfa_passkey_options",
    "mfa_set_up_link",
    "stay_signed_in",
    *SET_UP_URLS,
)

# The pages about second factors that do not need a recent sign-in. "mfa_index" lists
# the person's second factors, and the other pages are part of the sign-in.
SECOND_FACTOR_URLS_FOR_OLD_SIGN_INS = (
    "mfa_index",
    "mfa_authenticate",
    "mfa_login_webauthn",
    "mfa_passkey_options",
)

# The page that reports when the session ends. Requests to this page do not count as use
# of the session, and do not end an expired session.
SESSION_STATUS_URL = "stay_signed_in"


class SessionLimitsMiddleware(MiddlewareMixin):
    """Ends sessions that were idle or have lasted for too long.

    The person is then treated like a visitor, so most pages redirect them to the
    sign-in page. If they sent a form, it is kept for up to an hour, until they have
    signed in again.
    """

    def process_view(self, request, view, args, kwargs):
        if request.path_info in PATHS_WITHOUT_SESSION:
            return None
        if request.resolver_match.url_name == SESSION_STATUS_URL:
            return None
        has_expired = sessions.end_expired_session(request)
        if request.user.is_authenticated:
            sessions.record_use(request.session)
            drop_expired_form(request.session)
            return None
        response = ask_to_sign_in(request)
        if has_expired and response is None:
            messages.info(
                request, _("You were signed out after a while. Sign in to continue.")
            )
        return response


class SecondFactorMiddleware(MiddlewareMixin):
    """Checks the second factor in each request, unless SECOND_FACTOR is "off".

    - People who have a second factor must have used it to sign in. If they signed in
      without it, for example before they set it up, their session ends.
    - Platform staff who need a second factor but have none are redirected to the page
      that sets one up.
    """

    def process_view(self, request, view, args, kwargs):
        user = request.user
        if settings.SECOND_FACTOR == "off" or not user.is_authenticated:
            return None
        used_second_factor = request.session.get("second_factor")
        is_required = must_have_second_factor(user)
        # Most requests return here, without a query for the person's second factor. If
        # a second factor is required, the query is necessary, because the person may
        # have removed the factor that they used to sign in.
        if used_second_factor and not is_required:
            return None
        if has_second_factor(user):
            if used_second_factor:
                return None
            sessions.sign_out(request, reason="second factor not used")
            return ask_to_sign_in(request) or redirect_to_sign_in(
                request, _("Sign in again, with your second factor.")
            )
        if not is_required:
            return None
        if request.resolver_match.url_name in URLS_ALLOWED_BEFORE_SETUP:
            return None
        messages.info(
            request,
            _("Platform staff need a second factor. Set one up to continue."),
        )
        return redirect("mfa_activate_totp")


class StepUpMiddleware(MiddlewareMixin):
    """Requires a recent sign-in on the pages about second factors.

    The admin site requires it on its own pages.
    """

    def process_view(self, request, view, args, kwargs):
        name = request.resolver_match.url_name or ""
        if not name.startswith("mfa_") or name in SECOND_FACTOR_URLS_FOR_OLD_SIGN_INS:
            return None
        if not request.user.is_authenticated:
            return None
        return ask_for_recent_sign_in(request)


def must_have_second_factor(user: User) -> bool:
    """Return whether the user cannot use the site without a second factor."""
    return settings.SECOND_FACTOR == "staff" and user.is_staff_or_superuser


class SetUpLinkMiddleware(MiddlewareMixin):
    """Requires a link from an email for the pages that set up a second factor.

    Otherwise, someone who only knows the password could set up the second factor.
    """

    def process_view(self, request, view, args, kwargs):
        name = request.resolver_match.url_name
        if name not in SET_UP_URLS:
            return None
        if name != "mfa_activate_totp" and not passkeys.are_available():
            # The page responds as if it did not exist.
            return None
        if not request.user.is_authenticated or is_open(request.session):
            return None
        if has_second_factor(request.user):
            # StepUpMiddleware has already asked for that factor.
            return None
        store_wanted_page(request)
        return redirect("mfa_set_up_link")
