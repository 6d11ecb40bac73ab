"""Tests whether people can sign in with an OpenID provider, for `doctor`.

Nobody is signed in. This sends the requests of a sign-in to the provider, with a code
that the provider has never issued.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
import requests
from django.utils import timezone
from django.utils.crypto import get_random_string

from orgadmin.accounts.company import openid
from orgadmin.accounts.company.claims import KEY_PAIR_ALGORITHMS, LEEWAY
from orgadmin.accounts.company.log import SINGLE_ERRORS
from orgadmin.accounts.company.refusal_reasons import Reason, SignInRefused
from orgadmin.accounts.company.views import describe_client

if TYPE_CHECKING:
    from config.providers import OpenIDProvider

# What to do for each reason why discovery can fail.
REMEDIES = {
    Reason.UNREACHABLE: "check the URL, the network, and for SSLError the certificate"
    " authorities (REQUESTS_CA_BUNDLE)",
    Reason.INVALID_DISCOVERY: "check the URL in the settings",
    Reason.INVALID_RESPONSE: "check the URL in the settings",
    Reason.DISCOVERY_ISSUER: "set the server in the settings to this issuer",
}


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """The result of one test, as `doctor` prints it."""

    level: Level
    check: str  # the name of what was tested
    text: str


def examine_provider(provider: OpenIDProvider) -> Iterator[Finding]:
    """Yield the results of all tests of a provider, in the order of a sign-in.

    If discovery fails, the other tests are not made.
    """
    try:
        response = openid.send("GET", openid.make_discovery_url(provider.server))
        document = openid.read_json(response, error=Reason.INVALID_DISCOVERY)
        configuration = openid.read_configuration(document, provider.server)
    except SignInRefused as refusal:
        text = f"{describe(refusal)}; {REMEDIES[refusal.reason]}"
        yield Finding(Level.ERROR, "discovery", text)
        return
    yield Finding(Level.OK, "discovery", f"the issuer is {configuration.issuer}")
    yield check_clock(response)
    yield from check_description(document, provider)
    yield check_keys(configuration)
    yield check_authorization(configuration, provider)
    yield check_client(configuration, provider)
    if configuration.userinfo_endpoint:
        yield check_userinfo(configuration)


def describe(refusal: SignInRefused) -> str:
    if refusal.detail:
        return f"{refusal.reason} ({refusal.detail})"
    return str(refusal.reason)


def check_clock(response: requests.Response) -> Finding:
    """Compare the provider's clock with the clock of this machine."""
    try:
        there = parsedate_to_datetime(response.headers["Date"])
        seconds = round(abs((there - timezone.now()).total_seconds()))
    except (KeyError, ValueError, TypeError):
        return Finding(Level.NOTE, "clock", "the provider does not send its time")
    if seconds > LEEWAY:
        text = f"the clocks differ by {seconds:,} seconds; set them"
        return Finding(Level.ERROR, "clock", text)
    return Finding(Level.OK, "clock", f"the clocks differ by {seconds} seconds")


def check_description(
    document: Mapping[str, Any], provider: OpenIDProvider
) -> Iterator[Finding]:
    """Yield a finding for each feature that the discovery document does not list.

    Lists that are missing are not reported, because providers do not have to list their
    features. Missing scopes and claims are only notes.
    """
    required = {
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "id_token_signing_alg_values_supported": KEY_PAIR_ALGORITHMS,
    }
    for name, accepted in required.items():
        supported = document.get(name)
        if isinstance(supported, list) and not set(accepted).intersection(supported):
            text = f"{name} must contain one of: {', '.join(accepted)}"
            yield Finding(Level.ERROR, "abilities", text)
    scopes = document.get("scopes_supported")
    if isinstance(scopes, list):
        unknown = {"email", *provider.scopes}.difference(scopes)
        for scope in sorted(unknown):
            text = f"the provider does not list the scope {scope}"
            yield Finding(Level.NOTE, "abilities", text)
    claims = document.get("claims_supported")
    if isinstance(claims, list):
        for claim in list_needed_claims(provider):
            if claim not in claims:
                text = f"the provider does not list the claim {claim}"
                yield Finding(Level.NOTE, "abilities", text)


def list_needed_claims(provider: OpenIDProvider) -> list[str]:
    """Return the claims that this site uses with the provider's settings."""
    # "auth_time" is the time at which the provider last asked for the password.
    claims = ["email", "auth_time"]
    if not provider.trusts_email:
        claims.append("email_verified")
    if provider.roles:
        claims.append(provider.groups_claim)
    return claims


def check_keys(configuration: openid.Configuration) -> Finding:
    """Check whether the provider publishes a key for signing ID tokens."""
    try:
        document = openid.request_json(
            "GET", configuration.jwks_uri, error=Reason.INVALID_RESPONSE
        )
        keys = jwt.PyJWKSet.from_dict(document).keys
    except SignInRefused as refusal:
        return Finding(Level.ERROR, "keys", describe(refusal))
    except (jwt.PyJWTError, AttributeError, TypeError):
        keys = []
    usable = [key for key in keys if is_usable(key)]
    if not usable:
        text = "the provider publishes no key that can sign ID tokens"
        return Finding(Level.ERROR, "keys", text)
    return Finding(Level.OK, "keys", f"usable keys: {len(usable)}")


def is_usable(key: jwt.PyJWK) -> bool:
    is_for_signatures = key.public_key_use in (None, "sig")
    return is_for_signatures and key.algorithm_name in KEY_PAIR_ALGORITHMS


def check_authorization(
    configuration: openid.Configuration, provider: OpenIDProvider
) -> Finding:
    """Request a sign-in without a password (prompt=none) for someone who is signed in.

    Nobody is signed in at the provider, so it should redirect back with an error that
    says so. Providers only redirect if they know the client and the redirect URI.
    """
    check = "authorization endpoint"
    client = describe_client(provider)
    attempt = openid.Attempt(*(get_random_string(32) for _name in range(3)))
    url = openid.build_authorization_url(
        configuration, client, attempt, get_random_string(43)
    )
    try:
        response = openid.send("GET", f"{url}&prompt=none")
    except SignInRefused as refusal:
        return Finding(Level.ERROR, check, describe(refusal))
    target = response.headers.get("Location", "")
    if target.startswith(f"{client.redirect_uri}?"):
        errors = parse_qs(urlsplit(target).query).get("error", [])
        if set(errors) <= set(SINGLE_ERRORS):
            text = f"the provider redirects back to {client.redirect_uri}"
            return Finding(Level.OK, check, text)
        return Finding(Level.ERROR, check, f"the provider answers {errors[0]}")
    if response.status_code >= 500:
        return Finding(Level.ERROR, check, f"HTTP {response.status_code}")
    host = urlsplit(target).hostname
    answer = f"redirects to {host}" if host else f"answers HTTP {response.status_code}"
    text = (
        f"the provider {answer}; make sure that it knows the redirect URI"
        f" {client.redirect_uri}"
    )
    return Finding(Level.NOTE, check, text)


def check_client(
    configuration: openid.Configuration, provider: OpenIDProvider
) -> Finding:
    """Check the client ID and secret with an authorization code that does not exist.

    Providers check the client first. If the provider responds that the code is wrong
    (`invalid_grant`), the client ID and secret are right.
    """
    check = "client credentials"
    attempt = openid.Attempt(state="", nonce="", code_verifier=get_random_string(43))
    try:
        openid.fetch_tokens(configuration, describe_client(provider), attempt, "doctor")
    except SignInRefused as refusal:
        if "invalid_grant" in refusal.detail:
            return Finding(Level.OK, check, "the provider accepts them")
        if refusal.reason is Reason.UNREACHABLE:
            return Finding(Level.ERROR, "token endpoint", describe(refusal))
        # Such as "invalid_client" or "unauthorized_client"
        if "_client" in refusal.detail or "HTTP 401" in refusal.detail:
            text = f"{describe(refusal)}; check the client ID and the client secret"
            return Finding(Level.ERROR, check, text)
        text = f"the provider does not say whether they are right: {describe(refusal)}"
        return Finding(Level.NOTE, check, text)
    text = "the provider issues tokens for a code that it has never issued"
    return Finding(Level.ERROR, check, text)


def check_userinfo(configuration: openid.Configuration) -> Finding:
    """Request user info without a token, which the provider must refuse."""
    check = "user info endpoint"
    try:
        response = openid.send("GET", configuration.userinfo_endpoint)
    except SignInRefused as refusal:
        return Finding(Level.ERROR, check, describe(refusal))
    text = f"HTTP {response.status_code}"
    if response.status_code in (400, 401, 403):
        return Finding(Level.OK, check, "the provider requires a token")
    return Finding(Level.ERROR, check, text)
