"""Signing out of the company account as well (OpenID Connect RP-Initiated Logout 1.0).

Otherwise, whoever uses the browser next signs in again without a question.
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
from orgadmin.accounts.company.refusals import SignInRefused
from orgadmin.accounts.company.sessions import open_id_token
from orgadmin.accounts.providers import find_provider

if TYPE_CHECKING:
    from config.providers import OpenIDProvider

# What a visitor's session remembers of the company account that they have used.
SESSION_KEY = "company_sign_out"

KEY_LENGTH = 32


@dataclass(frozen=True)
class UsedProvider:
    """The provider with which someone is, or was, signed in.

    `company` is what the session remembers of it (company_sessions.py).
    """

    provider: OpenIDProvider
    company: dict[str, Any]

    @property
    def can_sign_out(self) -> bool:
        return self.company["can_sign_out"]


def find_used(request: HttpRequest) -> UsedProvider | None:
    company = request.session.get("company") or request.session.get(SESSION_KEY)
    for provider in settings.OIDC_PROVIDERS:
        if company and company["provider"] == provider.id:
            return UsedProvider(provider, company)
    return None


def keep(used: UsedProvider, session: SessionBase) -> None:
    """Let the visitor's session remember which provider they have used."""
    session[SESSION_KEY] = used.company


@require_POST
def sign_out_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send someone who has just signed out to the provider, to sign out there."""
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
        # The same, as AWS Cognito calls it. Others ignore it.
        "logout_uri": back,
        "state": key,
    }
    id_token = open_id_token(company["id_token"])
    if id_token:
        parameters["id_token_hint"] = id_token
    separator = "&" if "?" in endpoint else "?"
    url = f"{endpoint}{separator}{urlencode(parameters)}"
    return round_trips.leave(request, provider.id, key=key, url=url, wanted=page)


def find_endpoint(server: str) -> str:
    """Return where a provider signs people out, or "" if it does not now."""
    try:
        return openid.fetch_configuration(server).end_session_endpoint
    except SignInRefused:
        return ""


@never_cache
@require_safe
def signed_out_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Say that someone is signed out, and whether they can sign out there as well.

    The site leads people here, and then the provider.
    """
    provider = find_provider(provider_id)
    if request.user.is_authenticated:
        return redirect("admin:index")
    key = request.GET.get("state")
    if key is not None:
        response = redirect("openid_connect_signed_out", provider.id)
        return round_trips.arrive(request, key, response)
    context = {
        **admin.site.each_context(request),
        "used": find_used(request),
        "signed_out_at": provider,
    }
    return render(request, "registration/logged_out.html", context)
