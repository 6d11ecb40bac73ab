"""The middleware that asks for a second factor."""

from allauth.mfa.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.accounts.set_up_link import is_open
from orgadmin.models import User

# Names of the URLs that platform staff can open before they set up a second factor.
URLS_ALLOWED_BEFORE_SETUP = (
    "account_login",
    "account_logout",
    "mfa_activate_totp",
    "mfa_open_set_up_link",
    "mfa_set_up_link",
)


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
        if get_adapter().is_mfa_enabled(user, ["totp"]):
            if used_second_factor:
                return None
            logout(request)
            return redirect_to_sign_in(
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


def must_have_second_factor(user: User) -> bool:
    if settings.SECOND_FACTOR != "staff":
        return False
    return user.is_superuser or user.is_staff


class SetUpLinkMiddleware(MiddlewareMixin):
    """Opens the page that sets up a second factor only after the link from an email.

    A password alone must not be enough to set up the factor that protects the account.
    """

    def process_view(self, request, view, args, kwargs):
        if request.resolver_match.url_name != "mfa_activate_totp":
            return None
        if not request.user.is_authenticated or is_open(request.session):
            return None
        if get_adapter().is_mfa_enabled(request.user, ["totp"]):
            # The page redirects people who have one.
            return None
        return redirect("mfa_set_up_link")
