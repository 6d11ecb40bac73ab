"""Checks and reads the claims of an OpenID provider about a person.

An ID token is a signed set of claims. The user info contains more claims, without a
signature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jwt

from orgadmin.accounts.company.refusal_reasons import Reason, SignInRefused

# The accepted difference between the provider's clock and ours.
LEEWAY = 60  # seconds

# The accepted algorithms for signing ID tokens, which all use a key pair. HS256 uses
# the client secret instead, so everyone who can check such a token can also forge one.
KEY_PAIR_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)

REQUIRED_CLAIMS = ["iss", "aud", "exp", "iat"]

REASONS_BY_ERROR: dict[type[jwt.PyJWTError], Reason] = {
    jwt.InvalidIssuerError: Reason.TOKEN_ISSUER,
    jwt.InvalidAudienceError: Reason.AUDIENCE,
    jwt.ExpiredSignatureError: Reason.NOT_VALID_NOW,
    jwt.ImmatureSignatureError: Reason.NOT_VALID_NOW,
    jwt.InvalidSignatureError: Reason.SIGNATURE,
}


def decode_id_token(
    token: str, keys: Any, *, issuer: str, client_id: str
) -> dict[str, Any]:
    """Return the claims of an ID token.

    Raises `SignInRefused` unless the provider has signed the token for this site, and
    the token is valid at the moment.
    """
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(
            token,
            find_key(keys, header),
            algorithms=[header["alg"]],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY,
            options={
                "require": REQUIRED_CLAIMS,
                # `read_subject` checks the subject.
                "verify_sub": False,
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.PyJWTError as error:
        reason = REASONS_BY_ERROR.get(type(error), Reason.INVALID_TOKEN)
        raise SignInRefused(reason, detail=type(error).__name__) from error
    except OverflowError as error:
        # The claims contain an infinite time.
        raise SignInRefused(Reason.INVALID_TOKEN) from error
    check_authorized_party(claims, client_id)
    return claims


def find_key(keys: Any, header: Mapping[str, Any]) -> jwt.PyJWK:
    """Return the provider's key that the header of an ID token names.

    Raises `SignInRefused` if there is none, or if it cannot be used.
    """
    algorithm = header.get("alg")
    if algorithm not in KEY_PAIR_ALGORITHMS:
        raise SignInRefused(Reason.SIGNATURE, detail="algorithm")
    for key in keys if isinstance(keys, list) else []:
        if not isinstance(key, dict) or key.get("use", "sig") != "sig":
            continue
        if key.get("alg", algorithm) != algorithm:
            continue
        if "kid" in header and key.get("kid") != header["kid"]:
            continue
        try:
            return jwt.PyJWK(key, algorithm=algorithm)
        except jwt.PyJWTError:
            # The key has another type than the algorithm needs, for example.
            continue
    raise SignInRefused(Reason.SIGNATURE, detail="no such key")


def check_authorized_party(claims: Mapping[str, Any], client_id: str) -> None:
    """Refuse an ID token that was issued to another client, even if it is also for us.

    If there are several audiences, "azp" is the one that the token was issued to
    (OpenID Connect Core, section 3.1.3.7).
    """
    audiences = claims["aud"]
    is_for_several = isinstance(audiences, list) and len(audiences) > 1
    party = claims.get("azp")
    if (party is not None or is_for_several) and party != client_id:
        raise SignInRefused(Reason.AUDIENCE, detail="azp")


def read_subject(claims: Mapping[str, Any]) -> str:
    """Return the ID of the person at the provider. Raises `SignInRefused`."""
    subject = claims.get("sub")
    # Texts that cannot be printed, such as half a surrogate pair, cannot be hashed.
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        raise SignInRefused(Reason.NO_SUBJECT)
    return subject


def read_session_id(claims: Mapping[str, Any]) -> str:
    """Return the ID of the person's session at the provider, or "" if there is none."""
    session_id = claims.get("sid")
    if not isinstance(session_id, str) or not session_id.isprintable():
        return ""
    return session_id


def read_auth_time(claims: Mapping[str, Any]) -> float | None:
    """Return when the provider last asked the person to sign in, in seconds since 1970.

    Returns None if the provider does not send this time. Raises `SignInRefused` if it
    is not a time.
    """
    at = claims.get("auth_time")
    if at is None:
        return None
    # Python also accepts True, and Infinity in JSON, as numbers.
    is_number = isinstance(at, int | float) and not isinstance(at, bool)
    if not is_number or not math.isfinite(at):
        raise SignInRefused(Reason.INVALID_TOKEN, detail="auth_time")
    return float(at)


def read_email(claims: Mapping[str, Any]) -> str:
    """Return the person's email address, or "" if there is no usable one."""
    email = claims.get("email")
    # Email addresses do not contain unprintable characters, and databases refuse some
    # of these characters.
    if not isinstance(email, str) or not email.isprintable():
        return ""
    return email


def read_groups(
    claims: Mapping[str, Any], userinfo: Mapping[str, Any], name: str
) -> tuple[str, ...] | None:
    """Return the names of the person's groups.

    `name` is the name of the claim. Returns None if the provider does not send the
    claim, which does not mean that there are no groups: Microsoft Entra ID leaves the
    claim out if a person is in many groups.
    """
    groups = claims.get(name)
    if groups is None:
        groups = userinfo.get(name)
    if isinstance(groups, str):
        # Some providers send a string if there is only one group.
        groups = [groups]
    if not isinstance(groups, list):
        return None
    return tuple(group for group in groups if isinstance(group, str))


def read_email_verified(
    email: str, claims: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> bool | None:
    """Return whether the provider has verified the person's email address.

    The ID token takes precedence over the user info, because only the ID token is
    signed. The user info only counts if it contains the same address. Returns None if
    the provider does not say whether the address is verified.
    """
    verified = claims.get("email_verified")
    if verified is None and email == read_email(userinfo):
        verified = userinfo.get("email_verified")
    if verified is None:
        return None
    # Some providers send the string "true".
    return str(verified).lower() == "true"
