"""The second factor, for each request."""

from allauth.mfa.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.redirects import turn_away

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
