"""The reasons why people cannot sign in with a company account, and the steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orgadmin.models import User


class Reason(StrEnum):
    """Why someone could not sign in with a company account.

    The audit log stores these texts: do not change them.
    """

    # This browser has not started the sign-in, or the provider did not sign in anyone.
    NOT_STARTED = "not started here"
    CANCELED = "canceled"
    REFUSED_BY_PROVIDER = "refused by the provider"

    # The provider does not work, or the settings are wrong.
    UNREACHABLE = "provider unreachable"
    INVALID_DISCOVERY = "invalid discovery document"
    DISCOVERY_ISSUER = "discovery document of another issuer"
    RESPONSE_ISSUER = "response of another issuer"
    CODE_REFUSED = "token request refused"
    INVALID_RESPONSE = "invalid response"

    # The ID token or the user info is wrong.
    INVALID_TOKEN = "invalid ID token"
    SIGNATURE = "wrong signature"
    TOKEN_ISSUER = "ID token of another issuer"
    AUDIENCE = "ID token for another client"
    NOT_VALID_NOW = "ID token not valid now"
    NONCE = "ID token of another sign-in"
    NO_SUBJECT = "no subject"
    USERINFO_SUBJECT = "user info of another subject"
    NOT_AGAIN = "not signed in again"

    # The person is known to the provider, but cannot use an account here.
    NO_EMAIL = "no email address"
    UNVERIFIED_EMAIL = "unverified email address"
    NO_ACCOUNT = "no account"
    UNVERIFIED_ACCOUNT = "unverified account"
    OTHER_SUBJECT = "other subject"
    INACTIVE = "inactive account"


class Step(StrEnum):
    """The steps of a sign-in, in their order. The logs contain these texts."""

    DISCOVERY = "discovery"
    RESPONSE = "response to the browser"
    TOKEN = "token request"
    KEYS = "keys"
    ID_TOKEN = "ID token"
    USERINFO = "user info"
    ACCOUNT = "account"


class SignInRefused(Exception):
    """Someone cannot sign in with a company account.

    `detail` is for operators, such as "HTTP 500". `user` is the account that the person
    would have used, if it is known. `subject` is the hash of their ID at the provider,
    or "". `in_step` sets the attribute `step`.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        detail: str = "",
        user: User | None = None,
        subject: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.step: Step | None = None
        self.user = user
        self.subject = subject


@contextmanager
def in_step(step: Step) -> Iterator[None]:
    """Set the step of a `SignInRefused` that the block raises."""
    try:
        yield
    except SignInRefused as refusal:
        refusal.step = step
        raise
