"""Middleware that ends sessions, and asks for a second factor and recent sign-ins."""

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
from orgadmin.accounts.sessions.kept_forms import drop_expired
from orgadmin.accounts.set_up_link import SET_UP_URLS, is_open, note_wanted_page
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

# The pages of the second factor that do not need a recent sign-in: the first one lists
# the person's second factors, and the others are part of the sign-in.
SECOND_FACTOR_URLS_FOR_OLD_SIGN_INS = (
    "mfa_index",
    "mfa_authenticate",
    "mfa_login_webauthn",
    "mfa_passkey_options",
)

# This page tells when the session ends. To open it is no use of the session, and it
# does not end an expired one.
ABOUT_THE_SESSION = "stay_signed_in"


class SessionLimitsMiddleware(MiddlewareMixin):
    """Ends sessions that were not used for a while, or that have lasted too long.

    The page then redirects to the sign-in page, like any page for visitors. If a form
    was sent, it is kept until the person has signed in.
    """

    def process_view(self, request, view, args, kwargs):
        if request.path_info in PATHS_WITHOUT_SESSION:
            return None
        if request.resolver_match.url_name == ABOUT_THE_SESSION:
            return None
        has_expired = sessions.end_expired(request)
        if request.user.is_authenticated:
            sessions.note_use(request.session)
            drop_expired(request.session)
            return None
        response = ask_to_sign_in(request)
        if has_expired and response is None:
            messages.info(
                request, _("You were signed out after a while. Sign in to continue.")
            )
        return response


class SecondFactorMiddleware(MiddlewareMixin):
    """Checks the second factor in each request, if the setting SECOND_FACTOR says so.

    People who have a second factor must have used it to sign in. If they signed in
    without it, for example before they set it up, their session ends. Platform staff
    who need a second factor but have none are redirected to the page that sets one up.
    """

    def process_view(self, request, view, args, kwargs):
        user = request.user
        if settings.SECOND_FACTOR == "off" or not user.is_authenticated:
            return None
        used_second_factor = request.session.get("second_factor")
        is_required = must_have_second_factor(user)
        # Most requests end here, without a query for the person's second factor. The
        # query is necessary if a second factor is required: the person may have removed
        # the one that they used to sign in.
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
    """Asks for a recent sign-in on the pages of the second factor.

    The admin site asks for it on its own pages.
    """

    def process_view(self, request, view, args, kwargs):
        name = request.resolver_match.url_name or ""
        if not name.startswith("mfa_") or name in SECOND_FACTOR_URLS_FOR_OLD_SIGN_INS:
            return None
        if not request.user.is_authenticated:
            return None
        return ask_for_recent_sign_in(request)


def must_have_second_factor(user: User) -> bool:
    return settings.SECOND_FACTOR == "staff" and user.is_platform_staff


class SetUpLinkMiddleware(MiddlewareMixin):
    """Opens the pages that set up a second factor only after the link from an email.

    A password alone must not be enough to set up the factor that protects the account.
    """

    def process_view(self, request, view, args, kwargs):
        name = request.resolver_match.url_name
        if name not in SET_UP_URLS:
            return None
        if name != "mfa_activate_totp" and not passkeys.are_available():
            # The page answers as if it did not exist.
            return None
        if not request.user.is_authenticated or is_open(request.session):
            return None
        if has_second_factor(request.user):
            # StepUpMiddleware has asked for it.
            return None
        note_wanted_page(request)
        return redirect("mfa_set_up_link")
