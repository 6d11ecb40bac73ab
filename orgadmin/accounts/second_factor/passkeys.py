"""Passkeys: the options that a browser gets, and the checks of its response.

django-allauth stores passkeys, and the fido2 library checks signatures. This module
adds these checks:

- A response is only accepted once, within a few minutes, and in the session that
  requested it.
- It must come from a page below BASE_URL.
- The passkey must not be a copy, as far as its counter shows this.

Each passkey asks its owner for a PIN, a fingerprint or the like. So a passkey alone is
as strong as a password together with a second factor.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import time
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from allauth.account.utils import url_str_to_user_pk
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import auth
from django.conf import settings
from django.contrib import admin
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from fido2.cose import UnsupportedKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AuthenticationResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from orgadmin.accounts import throttle
from orgadmin.models import User

# How long people have to use their passkey after the browser asks for it.
CHALLENGE_LIFETIME = 5 * 60  # seconds

# The session value with the last challenge.
CHALLENGE = "passkey_challenge"

# In characters. Longer than the response of any browser.
MAX_RESPONSE_LENGTH = 20_000

# The exceptions that the libraries raise for responses that no browser would send.
MALFORMED = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValidationError,
    ValueError,
    struct.error,
)

Purpose: TypeAlias = Literal["add", "use"]


class PasskeyRefused(Exception):
    """The browser's response does not prove who someone is.

    `passkey` is the passkey that was used, if it is known. `reason` is for the audit
    log.
    """

    def __init__(self, passkey: Authenticator | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.passkey = passkey
        self.reason = reason

    @property
    def details(self) -> dict[str, str]:
        return {"reason": self.reason} if self.reason else {}


# The site


def are_available() -> bool:
    """Return whether people can use passkeys on this site.

    Browsers allow passkeys for a host name, but not for an IP address. They require
    HTTPS unless the site runs on the same computer. If the setting SECOND_FACTOR is
    off, passkeys are not used at all.
    """
    site = urlsplit(settings.BASE_URL)
    if settings.SECOND_FACTOR == "off" or is_ip_address(find_domain()):
        return False
    return site.scheme == "https" or is_local(find_domain())


def is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def find_domain() -> str:
    """Return the domain for which passkeys are created.

    The domain does not come from the request, because visitors can change its Host
    header.
    """
    host = urlsplit(settings.BASE_URL).hostname or ""
    return host.encode("idna").decode()


def find_origin() -> str:
    """Return the origin of the site's pages, in the notation that browsers use."""
    site = urlsplit(settings.BASE_URL)
    default_port = 443 if site.scheme == "https" else 80
    if site.port in (None, default_port):
        return f"{site.scheme}://{find_domain()}"
    return f"{site.scheme}://{find_domain()}:{site.port}"


def make_server() -> Fido2Server:
    """Return the library's object for this site, which makes and checks challenges."""
    # Without `verify_origin`, the library would also accept subdomains and other ports.
    entity = PublicKeyCredentialRpEntity(
        id=find_domain(), name=str(admin.site.site_header)
    )
    return Fido2Server(entity, verify_origin=lambda origin: origin == find_origin())


# The options for the browser


def ask_for_passkey(session: SessionBase, user: User | None) -> dict[str, Any]:
    """Return the options with which a browser asks for a passkey.

    `user` is None if it is not known yet who signs in. In that case, the browser offers
    all passkeys that it has for this site, and the options are the same for everyone.
    """
    options, state = make_server().authenticate_begin(
        credentials=auth.get_credentials(user) if user else None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    store_challenge(session, "use", user, state)
    return dict(options)


def ask_for_new_passkey(session: SessionBase, user: User) -> dict[str, Any]:
    """Return the options with which a browser creates a passkey for a user."""
    options, state = make_server().register_begin(
        user=auth.build_user_payload(user),
        credentials=auth.get_credentials(user),
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    store_challenge(session, "add", user, state)
    return dict(options)


def store_challenge(
    session: SessionBase, purpose: Purpose, user: User | None, state: dict[str, Any]
) -> None:
    """Store fido2's state about a challenge in the session, for `take_challenge()`."""
    session[CHALLENGE] = {
        "purpose": purpose,
        "user": user.pk if user else None,
        "at": time.time(),
        "state": state,
    }


def take_challenge(
    session: SessionBase, purpose: Purpose, user: User | None
) -> dict[str, Any]:
    """Remove the challenge from the session, and return fido2's state about it.

    Raises `PasskeyRefused` if there is no challenge for this purpose and user, if it
    has expired, or if it was used before.
    """
    asked = session.pop(CHALLENGE, None)
    if asked is None or asked["purpose"] != purpose:
        raise PasskeyRefused
    if asked["user"] != (user.pk if user else None):
        raise PasskeyRefused
    if asked["at"] + CHALLENGE_LIFETIME < time.time():
        raise PasskeyRefused
    # Count the challenge in the database, because two requests at the same time could
    # both find it in the session.
    state = asked["state"]
    if not throttle.count_attempt("used challenge", state["challenge"], limit=1):
        raise PasskeyRefused
    return state


# The checks of the response


def check_passkey(session: SessionBase, user: User | None, text: str) -> Authenticator:
    """Return the passkey that someone has used, and record its use.

    `text` is the browser's response. If `user` is None, the passkey determines who the
    user is. Raises `PasskeyRefused` unless the response matches the challenge in this
    session, and the user is active.
    """
    state = take_challenge(session, "use", user)
    answer = parse_answer(text)
    owner = find_owner(answer, user)
    passkey = find_passkey(owner, answer.raw_id)
    try:
        make_server().authenticate_complete(
            state, [passkey.wrap().authenticator_data.credential_data], answer
        )
    except MALFORMED as error:
        raise PasskeyRefused(passkey) from error
    refuse_other_origin(answer.response.client_data)
    if not owner.is_active:
        raise PasskeyRefused(passkey, "inactive account")
    if not record_use(passkey, answer.response.authenticator_data.counter):
        raise PasskeyRefused(passkey, "copied passkey")
    return passkey


def parse_answer(text: str) -> AuthenticationResponse:
    """Return the browser's response. Raises `PasskeyRefused` if it is malformed."""
    try:
        answer = AuthenticationResponse.from_dict(json.loads(text))
    except MALFORMED as error:
        raise PasskeyRefused from error
    if answer is None:
        # The library returns this for null.
        raise PasskeyRefused
    return answer


def find_owner(answer: AuthenticationResponse, user: User | None) -> User:
    """Return the owner of the passkey that the response names.

    If the response does not name anyone, returns `user`. Raises `PasskeyRefused` if
    there is no such user, or if `user` is given and is not the owner.
    """
    handle = answer.response.user_handle
    if not handle:
        if user is None:
            raise PasskeyRefused
        return user
    try:
        pk = url_str_to_user_pk(handle.decode())
    except MALFORMED as error:
        raise PasskeyRefused from error
    if user is not None and pk != user.pk:
        raise PasskeyRefused
    owner = user or User.objects.filter(pk=pk).first()
    if owner is None:
        raise PasskeyRefused
    return owner


def find_passkey(owner: User, credential_id: bytes) -> Authenticator:
    """Return the owner's passkey with this ID. Raises `PasskeyRefused`."""
    passkey = auth.get_authenticator_by_credential_id(owner, credential_id)
    if passkey is None:
        raise PasskeyRefused
    return passkey


def refuse_other_origin(client_data: CollectedClientData) -> None:
    """Refuse a response from a page that was shown in a frame of another site."""
    if client_data.cross_origin:
        raise PasskeyRefused


@transaction.atomic
def record_use(passkey: Authenticator, counter: int) -> bool:
    """Record that a passkey was used. Returns False if it seems to be a copy.

    Some devices count their signatures. A copy of such a device does not count the
    signatures of the original, so sooner or later, one of them sends a number that the
    other has already sent. Passkeys that are synchronized between devices always send
    0. Raises `PasskeyRefused` if the passkey was removed in the meantime.
    """
    row = Authenticator.objects.select_for_update().filter(pk=passkey.pk).first()
    if row is None:
        # The passkey was removed in the meantime.
        raise PasskeyRefused
    known = row.data.get("counter", row.wrap().authenticator_data.counter)
    if (counter or known) and counter <= known:
        return False
    row.data["counter"] = counter
    row.last_used_at = timezone.now()
    row.save(update_fields=["data", "last_used_at"])
    return True


def check_new_passkey(session: SessionBase, user: User, text: str) -> dict[str, Any]:
    """Return the data to store about a new passkey. Raises `PasskeyRefused`."""
    state = take_challenge(session, "add", user)
    try:
        answer = RegistrationResponse.from_dict(json.loads(text))
        created = make_server().register_complete(state, answer)
        check_key(created)
    except MALFORMED as error:
        raise PasskeyRefused from error
    refuse_other_origin(answer.response.client_data)
    if auth.get_authenticator_by_credential_id(
        user, created.credential_data.credential_id
    ):
        raise PasskeyRefused
    return {
        "id": answer.id,
        "rawId": answer.id,
        "type": "public-key",
        "response": {
            "clientDataJSON": answer.response.client_data.b64,
            "attestationObject": dict(answer.response)["attestationObject"],
        },
        "clientExtensionResults": {},
    }


def check_key(created: AuthenticatorData) -> None:
    """Raise `ValueError` if this site could not check signatures of the public key."""
    if isinstance(created.credential_data.public_key, UnsupportedKey):
        raise ValueError("The algorithm of the key is not supported.")


# The passkeys of a person


def can_use_passkey(user: User) -> bool:
    """Return whether a person has a passkey, and passkeys can be used on this site."""
    if not are_available():
        return False
    kind = Authenticator.Type.WEBAUTHN
    return Authenticator.objects.filter(user=user, type=kind).exists()


@transaction.atomic
def rename_passkey(passkey: Authenticator, name: str) -> None:
    """Rename a passkey, without overwriting what `record_use()` stores."""
    row = Authenticator.objects.select_for_update().get(pk=passkey.pk)
    row.data["name"] = name
    row.save(update_fields=["data"])
