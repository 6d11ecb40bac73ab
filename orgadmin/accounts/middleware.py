"""The middleware that asks for a second factor."""

from allauth.mfa.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.models import User

# Names of the URLs that platform staff can open before they set up a second factor.
OPEN_BEFORE_SET_UP = ("account_login", "account_logout", "mfa_activate_totp")


class SecondFactorMiddleware(MiddlewareMixin):
    """Checks the second factor in each request, if the setting SECOND_FACTOR says so.

    If a person has a second factor, only sessions that passed it go on. A session that
    is older than the person's second factor ends. Platform staff who must have one, and
    do not, are led to the page that sets it up.
    """

    def process_view(self, request, view, args, kwargs):
        user = request.user
        if settings.SECOND_FACTOR == "off" or not user.is_authenticated:
            return None
        passed = request.session.get("second_factor")
        required = must_have_second_factor(user)
        if passed and not required:
            return None
        has_second_factor = get_adapter().is_mfa_enabled(user, ["totp"])
        if has_second_factor and passed:
            return None
        if has_second_factor:
            logout(request)
            return redirect_to_sign_in(
                request, _("Sign in again, with your second factor.")
            )
        if required and request.resolver_match.url_name not in OPEN_BEFORE_SET_UP:
            messages.info(
                request,
                _("Platform staff need a second factor. Set yours up to continue."),
            )
            return redirect("mfa_activate_totp")
        return None


def must_have_second_factor(user: User) -> bool:
    if settings.SECOND_FACTOR != "staff":
        return False
    return user.is_superuser or user.is_staff
