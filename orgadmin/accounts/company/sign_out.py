"""Signs people out at the provider as well (OpenID Connect RP-Initiated Logout 1.0).

Otherwise, the next person who uses the browser could sign in with the same company
account without being asked for a password.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from orgadmin.accounts import round_trips
from orgadmin.accounts.company import openid
from orgadmin.accounts.company.refusal_reasons import SignInRefused
from orgadmin.accounts.company.sessions import decrypt_id_token
from orgadmin.accounts.providers import find_provider

if TYPE_CHECKING:
    from config.providers import OpenIDProvider

# The session value that describes the company account of a visitor who signed out.
SESSION_KEY = "company_sign_out"

KEY_LENGTH = 32  # characters


@dataclass(frozen=True)
class UsedProvider:
    """The provider with which someone is, or was, signed in.

    `company` is the session's value about the company account (`sessions.py`).
    """

    provider: OpenIDProvider
    company: dict[str, Any]

    @property
    def can_sign_out(self) -> bool:
        return self.company["can_sign_out"]


def find_used_provider(request: HttpRequest) -> UsedProvider | None:
    """Return the provider with which someone is signed in, or has just signed out.

    Returns None if they used another way to sign in, or if the provider is no longer in
    the settings.
    """
    company = request.session.get("company") or request.session.get(SESSION_KEY)
    for provider in settings.OIDC_PROVIDERS:
        if company and company["provider"] == provider.id:
            return UsedProvider(provider, company)
    return None


def store_used_provider(used: UsedProvider, session: SessionBase) -> None:
    """Store the provider in the session of a visitor who has just signed out."""
    session[SESSION_KEY] = used.company


@require_POST
def sign_out_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Redirect someone who has just signed out to the provider's sign-out page.

    If this is not possible, redirects them to the sign-in page of this site.
    """
    provider = find_provider(provider_id)
    company = request.session.pop(SESSION_KEY, None)
    if company is None or company["provider"] != provider.id:
        return redirect("admin:login")
    endpoint = find_endpoint(provider.server)
    if not endpoint:
        text = _("%s cannot sign you out at the moment. Sign out there yourself.")
        messages.error(request, text % provider.name)
        return redirect("admin:login")
    key = get_random_string(KEY_LENGTH)
    page = reverse("openid_connect_signed_out", args=[provider.id])
    back = f"{settings.BASE_URL}{page}"
    parameters = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": back,
        # AWS Cognito's name for the same parameter. Other providers ignore it.
        "logout_uri": back,
        "state": key,
    }
    id_token = decrypt_id_token(company["id_token"])
    if id_token:
        parameters["id_token_hint"] = id_token
    separator = "&" if "?" in endpoint else "?"
    url = f"{endpoint}{separator}{urlencode(parameters)}"
    return round_trips.start_trip(request, provider.id, key=key, url=url, wanted=page)


def find_endpoint(server: str) -> str:
    """Return the URL of a provider's sign-out page, or "" if it is not available."""
    try:
        return openid.fetch_configuration(server).end_session_endpoint
    except SignInRefused:
        return ""


@never_cache
@require_safe
def signed_out_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Tell people that they are signed out, and offer to sign out at the provider.

    People get here twice: first from this site, and then from the provider.
    """
    provider = find_provider(provider_id)
    if request.user.is_authenticated:
        return redirect("admin:index")
    key = request.GET.get("state")
    if key is not None:
        response = redirect("openid_connect_signed_out", provider.id)
        return round_trips.end_trip(request, key, response)
    context = {
        **admin.site.each_context(request),
        "used": find_used_provider(request),
        "signed_out_at": provider,
    }
    return render(request, "registration/logged_out.html", context)
