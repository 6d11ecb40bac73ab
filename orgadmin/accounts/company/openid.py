"""OpenID Connect: sends requests to a provider, and checks its responses.

This implements the authorization code flow with PKCE and a nonce (OpenID Connect Core
1.0, section 3.1). All responses are checked here or in `claims.py` before they are
used. If a response is missing or not acceptable, the functions raise `SignInRefused`.
`views.py` then chooses the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests
from django.http import QueryDict

from orgadmin.accounts.company.claims import (
    decode_id_token,
    read_auth_time,
    read_email,
    read_email_verified,
    read_groups,
    read_session_id,
    read_subject,
)
from orgadmin.accounts.company.refusal_reasons import (
    Reason,
    SignInRefused,
    Step,
    in_step,
)

TIMEOUT = 5  # seconds, to connect and to wait for a response

# The errors with which a provider can respond to a request for tokens (RFC 6749,
# section 5.2).
TOKEN_ERRORS = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)

# The errors that a provider can return instead of a code (RFC 6749, section 4.1.2.1,
# and OpenID Connect Core, section 3.1.2.6).
AUTHORIZATION_ERRORS = (
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "login_required",
    "interaction_required",
    "account_selection_required",
    "consent_required",
)

# The value of "max_age" with which the provider does not have to ask for the password
# again. It is longer than any session at a provider lasts.
ANY_AGE = 365 * 24 * 60 * 60  # seconds

# The number of characters of a wrong issuer that are logged.
MAX_ISSUER_LENGTH = 200

WELL_KNOWN = "/.well-known/"


@dataclass(frozen=True)
class Configuration:
    """The values of a provider's discovery document that this site uses."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str  # "" if there is none
    wants_basic_auth: bool
    # Whether each response to the browser contains the issuer (RFC 9207).
    names_issuer: bool
    end_session_endpoint: str  # "" if there is none


@dataclass(frozen=True)
class Client:
    """This site as a client of the provider, and what it requests."""

    id: str
    secret: str
    redirect_uri: str
    # The scopes that are requested in addition to "openid profile email".
    scopes: tuple[str, ...] = ()
    # The claim with the names of the person's groups.
    groups_claim: str = "groups"


@dataclass(frozen=True)
class Attempt:
    """The secrets of one sign-in, which are stored in the session until it ends."""

    state: str
    nonce: str
    code_verifier: str


@dataclass(frozen=True)
class Tokens:
    """The tokens of one sign-in. They have not been checked yet."""

    id_token: str
    access_token: str


@dataclass(frozen=True)
class Person:
    """What a provider says about a person."""

    subject: str
    email: str  # "" if there is none
    # None if the provider does not send it.
    is_email_verified: bool | None
    # None if the provider does not send it.
    groups: tuple[str, ...] | None
    # When the provider last asked for the password, in seconds since 1970. None if the
    # provider does not send it.
    signed_in_at: float | None
    # The ID of the person's session at the provider. "" if the provider does not send
    # it.
    session_id: str = ""


def fetch_configuration(server: str) -> Configuration:
    """Request and return the configuration of a provider. `server` is its URL."""
    document = request_json(
        "GET", make_discovery_url(server), error=Reason.INVALID_DISCOVERY
    )
    return read_configuration(document, server)


def make_discovery_url(server: str) -> str:
    """Return the URL of a provider's discovery document.

    `server` is the URL of the provider, or the URL of the document itself.
    """
    if WELL_KNOWN in server:
        return server
    return f"{server}{WELL_KNOWN}openid-configuration"


def read_configuration(document: Mapping[str, Any], server: str) -> Configuration:
    """Return the values of a discovery document that this site uses.

    Raises `SignInRefused` unless the issuer is the URL of the provider. A slash at the
    end makes no difference.
    """
    issuer, _separator, _path = server.partition(WELL_KNOWN)
    found = document.get("issuer")
    if not isinstance(found, str) or found.rstrip("/") != issuer.rstrip("/"):
        raise SignInRefused(
            Reason.DISCOVERY_ISSUER, detail=str(found)[:MAX_ISSUER_LENGTH]
        )
    userinfo_endpoint = ""
    if document.get("userinfo_endpoint") is not None:
        userinfo_endpoint = read_endpoint(document, "userinfo_endpoint", server)
    names_issuer = document.get("authorization_response_iss_parameter_supported")
    return Configuration(
        issuer=found,
        authorization_endpoint=read_endpoint(
            document, "authorization_endpoint", server
        ),
        token_endpoint=read_endpoint(document, "token_endpoint", server),
        jwks_uri=read_endpoint(document, "jwks_uri", server),
        userinfo_endpoint=userinfo_endpoint,
        wants_basic_auth=wants_basic_auth(document),
        names_issuer=names_issuer is True,
        end_session_endpoint=read_end_session_endpoint(document, server),
    )


def read_end_session_endpoint(document: Mapping[str, Any], server: str) -> str:
    """Return the URL where the provider signs people out, or "".

    Also returns "" for an invalid URL, which must not prevent people from signing in.
    """
    try:
        return read_endpoint(document, "end_session_endpoint", server)
    except SignInRefused:
        return ""


def wants_basic_auth(document: Mapping[str, Any]) -> bool:
    """Return whether the provider accepts the client secret only in a header."""
    methods = document.get("token_endpoint_auth_methods_supported")
    if not isinstance(methods, list):
        return False
    return "client_secret_basic" in methods and "client_secret_post" not in methods


def read_endpoint(document: Mapping[str, Any], name: str, server: str) -> str:
    """Return a URL of the discovery document.

    Raises `SignInRefused` unless the URL uses HTTPS, or the scheme of the provider's
    own URL.
    """
    url = document.get(name)
    if not isinstance(url, str) or not url.isprintable():
        raise SignInRefused(Reason.INVALID_DISCOVERY, detail=name)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SignInRefused(Reason.INVALID_DISCOVERY, detail=name) from error
    if not parts.netloc or parts.scheme not in ("https", urlsplit(server).scheme):
        raise SignInRefused(Reason.INVALID_DISCOVERY, detail=name)
    return url


def build_authorization_url(
    configuration: Configuration,
    client: Client,
    attempt: Attempt,
    code_challenge: str,
    *,
    asks_again: bool = False,
    chooses_account: bool = False,
) -> str:
    """Return the URL at the provider where the person signs in.

    - `asks_again` requests that the provider asks for the password even if the person
      is already signed in there.
    - `chooses_account` requests that the person can choose an account.

    The parameter "max_age" is always sent. It requires the provider to return when it
    last asked for the password (OpenID Connect Core, section 3.1.2.1), but some
    providers do not.
    """
    parameters = {
        "response_type": "code",
        "scope": " ".join(["openid", "profile", "email", *client.scopes]),
        "client_id": client.id,
        "redirect_uri": client.redirect_uri,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
    }
    if asks_again:
        parameters["prompt"] = "login"
    elif chooses_account:
        parameters["prompt"] = "select_account"
    parameters["max_age"] = "0" if asks_again else str(ANY_AGE)
    query = urlencode(parameters)
    endpoint = configuration.authorization_endpoint
    separator = "&" if "?" in endpoint else "?"
    return f"{endpoint}{separator}{query}"


def check_no_error(response: QueryDict) -> None:
    """Raise `SignInRefused` if the provider's response to the browser is an error."""
    error = response.get("error")
    if error == "access_denied":
        raise SignInRefused(Reason.CANCELED)
    if error is not None:
        # Only known errors are logged, because anyone can make a link with any text.
        detail = error if error in AUTHORIZATION_ERRORS else ""
        raise SignInRefused(Reason.REFUSED_BY_PROVIDER, detail=detail)


def read_code(response: QueryDict, configuration: Configuration) -> str:
    """Check the issuer in the provider's response to the browser. Return the code."""
    issuers = response.getlist("iss")
    # RFC 9207: the provider can leave the issuer out, unless its configuration says
    # that it always sends the issuer.
    is_left_out = not issuers and not configuration.names_issuer
    if not is_left_out and issuers != [configuration.issuer]:
        raise SignInRefused(Reason.RESPONSE_ISSUER)
    code = response.get("code")
    if not code:
        raise SignInRefused(Reason.INVALID_RESPONSE, detail="code")
    return code


def fetch_tokens(
    configuration: Configuration, client: Client, attempt: Attempt, code: str
) -> Tokens:
    """Exchange a code for tokens. Raises `SignInRefused`."""
    data = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": attempt.code_verifier,
    }
    auth = None
    if configuration.wants_basic_auth:
        # The ID and the secret are encoded before they are combined (RFC 6749, section
        # 2.3.1).
        auth = (quote(client.id, safe=""), quote(client.secret, safe=""))
    else:
        data |= {"client_id": client.id, "client_secret": client.secret}
    response = request_json(
        "POST",
        configuration.token_endpoint,
        error=Reason.CODE_REFUSED,
        data=data,
        auth=auth,
    )
    return Tokens(
        id_token=read_token(response, "id_token"),
        access_token=read_token(response, "access_token"),
    )


def read_token(response: Mapping[str, Any], name: str) -> str:
    token = response.get(name)
    if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
        raise SignInRefused(Reason.INVALID_RESPONSE, detail=name)
    return token


def fetch_person(
    configuration: Configuration, client: Client, attempt: Attempt, tokens: Tokens
) -> Person:
    """Check the tokens, and return the person that they describe.

    Raises `SignInRefused`, with the step that failed.
    """
    with in_step(Step.KEYS):
        keys = fetch_keys(configuration)
    with in_step(Step.ID_TOKEN):
        claims = decode_id_token(
            tokens.id_token, keys, issuer=configuration.issuer, client_id=client.id
        )
        if claims.get("nonce") != attempt.nonce:
            raise SignInRefused(Reason.NONCE)
        subject = read_subject(claims)
        signed_in_at = read_auth_time(claims)
    with in_step(Step.USERINFO):
        userinfo = fetch_userinfo(configuration, tokens)
        # Claims about another subject must not be used (OpenID Connect Core, section
        # 5.3.2).
        if userinfo and userinfo.get("sub") != subject:
            raise SignInRefused(Reason.USERINFO_SUBJECT)
    email = read_email(claims) or read_email(userinfo)
    return Person(
        subject=subject,
        email=email,
        is_email_verified=read_email_verified(email, claims, userinfo),
        groups=read_groups(claims, userinfo, client.groups_claim),
        signed_in_at=signed_in_at,
        session_id=read_session_id(claims),
    )


def fetch_keys(configuration: Configuration) -> Any:
    """Return the keys with which the provider signs. They are not checked yet."""
    document = request_json(
        "GET", configuration.jwks_uri, error=Reason.INVALID_RESPONSE
    )
    return document.get("keys")


def fetch_userinfo(configuration: Configuration, tokens: Tokens) -> dict[str, Any]:
    """Return more claims about the person, or {} if there is no user info endpoint.

    Raises `SignInRefused` if the provider does not return them.
    """
    if not configuration.userinfo_endpoint:
        return {}
    return request_json(
        "GET",
        configuration.userinfo_endpoint,
        error=Reason.INVALID_RESPONSE,
        headers={"Authorization": f"Bearer {tokens.access_token}"},
    )


def request_json(
    method: str, url: str, *, error: Reason, **options: Any
) -> dict[str, Any]:
    """Return the JSON object in the provider's response.

    Raises `SignInRefused`. The reason is UNREACHABLE if the provider does not respond
    or has an internal error, INVALID_RESPONSE if the response is not a JSON object, and
    `error` for any other error.
    """
    response = send(method, url, **options)
    if response.status_code >= 500:
        raise SignInRefused(Reason.UNREACHABLE, detail=describe_error(response))
    return read_json(response, error=error)


def send(method: str, url: str, **options: Any) -> requests.Response:
    """Return the provider's response.

    Redirects are not followed, so secrets are only sent to the URLs in the discovery
    document. Raises `SignInRefused` with UNREACHABLE if the provider does not respond.
    """
    try:
        return requests.request(
            method,
            url,
            headers=options.pop("headers", {}) | {"Accept": "application/json"},
            timeout=TIMEOUT,
            allow_redirects=False,
            **options,
        )
    except (requests.RequestException, UnicodeError) as problem:
        detail = type(problem).__name__
        raise SignInRefused(Reason.UNREACHABLE, detail=detail) from problem


def read_json(response: requests.Response, *, error: Reason) -> dict[str, Any]:
    """Return the JSON object in a response.

    Raises `SignInRefused`. The reason is `error` if the status is not 200.
    """
    if response.status_code != 200:
        raise SignInRefused(error, detail=describe_error(response))
    try:
        document = response.json()
    except (ValueError, RecursionError) as problem:
        raise SignInRefused(Reason.INVALID_RESPONSE, detail="no JSON") from problem
    if not isinstance(document, dict):
        raise SignInRefused(Reason.INVALID_RESPONSE, detail="no JSON object")
    return document


def describe_error(response: requests.Response) -> str:
    """Return the status of a response, and the error codes in it that are known."""
    codes = [code for code in TOKEN_ERRORS if f'"{code}"' in response.text]
    return " ".join([f"HTTP {response.status_code}", *codes])
