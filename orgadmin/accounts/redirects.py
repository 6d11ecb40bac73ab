"""Redirects to the sign-in page, and the page to open after it."""

from urllib.parse import urlencode

from allauth.account.utils import get_next_redirect_url
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise


def redirect_to_sign_in(request: HttpRequest, error: str | Promise) -> HttpResponse:
    """Redirect to the sign-in page, and show the error there."""
    messages.error(request, str(error))
    return redirect("admin:login")


def make_sign_in_url(wanted: str | None) -> str:
    """Return the URL of the sign-in page.

    `wanted` is the page to open after the sign-in.
    """
    url = reverse("admin:login")
    return f"{url}?{urlencode({'next': wanted}, safe='/')}" if wanted else url


def find_wanted_page(request: HttpRequest) -> str | None:
    """Return the page of this site in the parameter "next" of a request, if any."""
    return get_next_redirect_url(request)
