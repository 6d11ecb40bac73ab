"""Ends sessions when a provider reports a sign-out.

This implements OpenID Connect Back-Channel Logout 1.0: the provider's server sends a
logout token to this site, without a browser.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orgadmin.access.origin import find_address
from orgadmin.accounts import throttle
from orgadmin.accounts.company import openid
from orgadmin.accounts.company.claims import LEEWAY, decode_id_token
from orgadmin.accounts.company.refusal_reasons import Reason, SignInRefused
from orgadmin.accounts.company.sessions import end_sessions, hash_sid, hash_subject
from orgadmin.accounts.providers import find_provider

if TYPE_CHECKING:
    from config.providers import OpenIDProvider

logger = logging.getLogger("orgadmin.company")

EVENT = "http://schemas.openid.net/event/backchannel-logout"

# Older tokens are refused. This must be less than WINDOW (models/sign_in_attempt.py),
# which is how long the ID of a used token is stored.
MAX_AGE = 10 * 60  # seconds

MAX_LENGTH = 10_000  # characters of a token


@dataclass(frozen=True)
class SignOut:
    """A sign-out at the provider: of a person, of one of their sessions, or both."""

    token_id: str
    subject: str  # "" if the token does not contain it
    sid: str  # "" if the token does not contain it


@csrf_exempt  # The request has no cookies. The provider signs the token.
@require_POST
@never_cache
def back_channel_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """End the sessions here of someone who has signed out at the provider.

    Invalid tokens are counted, because this site requests the provider's keys for each
    of them.
    """
    provider = find_provider(provider_id)
    address = find_address(request)
    if not throttle.count_attempt("logout token", address, throttle.ADDRESS_LIMIT):
        return refuse(provider, "too many attempts", status=429)
    try:
        sign_out = read_logout_token(provider, request.POST.get("logout_token", ""))
    except SignInRefused as refusal:
        return refuse(provider, f"{refusal.reason} {refusal.detail}".strip())
    throttle.take_back("logout token", address)
    subject = ""
    if sign_out.subject:
        subject = hash_subject(provider.server, sign_out.subject)
    ended = end_sessions(
        provider_id=provider.id,
        subject=subject,
        sid=hash_sid(provider.server, sign_out.sid),
    )
    values = {"provider": provider.id, "ended": ended}
    logger.info("company sign-out: %s", "done", extra=values)
    return HttpResponse()


def refuse(provider: OpenIDProvider, reason: str, status: int = 400) -> HttpResponse:
    values = {"provider": provider.id, "reason": reason}
    logger.warning("company sign-out: %s", "refused", extra=values)
    return JsonResponse({"error": "invalid_request"}, status=status)


def read_logout_token(provider: OpenIDProvider, token: str) -> SignOut:
    """Check a logout token, and return who has signed out. Each token works once.

    Raises `SignInRefused`.
    """
    if not token or len(token) > MAX_LENGTH:
        raise SignInRefused(Reason.INVALID_TOKEN, detail="length")
    configuration = openid.fetch_configuration(provider.server)
    claims = decode_id_token(
        token,
        openid.fetch_keys(configuration),
        issuer=configuration.issuer,
        client_id=provider.client_id,
    )
    sign_out = read_claims(claims)
    # Different providers may use the same IDs.
    token_id = f"{provider.id} {sign_out.token_id}"
    if not throttle.count_attempt("used logout token", token_id, limit=1):
        raise SignInRefused(Reason.INVALID_TOKEN, detail="used before")
    return sign_out


def read_claims(claims: Mapping[str, Any]) -> SignOut:
    """Check the claims of a logout token (section 2.6), and return who signed out.

    Raises `SignInRefused`.
    """
    issued_at = claims["iat"]
    if not isinstance(issued_at, int | float):
        raise SignInRefused(Reason.INVALID_TOKEN, detail="iat")
    if issued_at < time.time() - MAX_AGE - LEEWAY:
        raise SignInRefused(Reason.NOT_VALID_NOW, detail="iat")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise SignInRefused(Reason.INVALID_TOKEN, detail="events")
    if "nonce" in claims:
        # Only ID tokens contain a nonce.
        raise SignInRefused(Reason.INVALID_TOKEN, detail="nonce")
    sign_out = SignOut(
        token_id=read_text(claims, "jti"),
        subject=read_text(claims, "sub"),
        sid=read_text(claims, "sid"),
    )
    if not sign_out.token_id:
        raise SignInRefused(Reason.INVALID_TOKEN, detail="jti")
    if not sign_out.subject and not sign_out.sid:
        raise SignInRefused(Reason.NO_SUBJECT)
    return sign_out


def read_text(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim, or "" if the token does not have it. Raises `SignInRefused`."""
    value = claims.get(name)
    if value is None:
        return ""
    # Texts that cannot be printed, such as half a surrogate pair, cannot be hashed.
    if not isinstance(value, str) or not value.isprintable():
        raise SignInRefused(Reason.INVALID_TOKEN, detail=name)
    return value
