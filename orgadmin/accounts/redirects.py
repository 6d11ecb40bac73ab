"""The redirect for people who cannot continue without signing in."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import Promise


def redirect_to_sign_in(request: HttpRequest, error: str | Promise) -> HttpResponse:
    """Redirect to the sign-in page, and show the error there."""
    messages.error(request, str(error))
    return redirect("admin:login")
