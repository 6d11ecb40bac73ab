"""Limits on attempts to guess passwords and codes, on emails, and on other requests.

Attempts are counted in the database, so a limit holds for all processes together. Each
attempt is counted before the password or code is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

from django.http import HttpRequest

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.origin import (
    current_request,
    find_address,
    run_after_response,
)
from orgadmin.accounts.devices import find_device
from orgadmin.models import SignInAttempt, User
from orgadmin.models.addresses import normalize_sign_in_name
from orgadmin.models.sign_in_attempt import make_key

# The number of attempts in a WINDOW (models/sign_in_attempt.py).
LIMIT = 10

# The number of attempts with one username in a WINDOW, from all IP addresses together,
# except from devices that the account knows.
USERNAME_LIMIT = 100

# The number of attempts from one IP address in a WINDOW, with all usernames together,
# except from devices that the account knows. Also limits the emails that visitors at
# one IP address can request, and some other requests from one IP address.
ADDRESS_LIMIT = 100

Kind: TypeAlias = Literal[
    "sign-in",
    "username",
    "address",
    "account",
    "account anywhere",
    "device",
    "password",
    "step-up",
    "reset",
    "code",
    "used code",
    "passkey",
    "used challenge",
    "lock-out",
    "refused company account",
    "logout token",
    "used logout token",
    "mail",
    "mail for visitors",
    "own mail",
    "invitation mail",
    "password link",
]


@dataclass(frozen=True)
class Counter:
    """A count of attempts. The meaning of `subject` depends on `kind`:

    - "sign-in": a name and an IP address
    - "username": a name
    - "address": an IP address
    - "account": an account and an IP address
    - "account anywhere": an account
    - "device": the key of a user, and a device that they have signed in on
    - "password", "step-up", "reset": the key of the user whose password it is
    - "code": the key of the user who enters a code of the second factor, and the device
      if they have signed in on it
    - "used code": the user's key and the code, such as "7 123456"
    - "passkey": the IP address of someone who signs in with a passkey alone
    - "used challenge": the value that a browser was asked to sign with a passkey
    - "lock-out": the account that is locked out
    - "refused company account": a provider, the reason, and the person there
    - "logout token": the IP address of a server that reports a sign-out
    - "used logout token": a provider and the ID of such a report
    - "mail": an email address that a visitor has entered
    - "mail for visitors": the IP address of a visitor who has entered an email address
    - "own mail": the key of the user who asks for an email to their own address
    - "password link": the key of the user who gets a link to choose a password
    - "invitation mail": the key of an organization, and the invited email address

    A name is a username or an email address, in its normal form. An account is the key
    of a user, or a name that nobody has.
    """

    kind: Kind
    subject: str | int
    limit: int = LIMIT

    @property
    def key(self) -> str:
        return make_key(self.kind, self.subject)

    def count(self) -> bool:
        """Count an attempt, and return whether it is within the limit."""
        return SignInAttempt.objects.count_one(self.key).count <= self.limit


def count_attempt(kind: Kind, subject: str | int, limit: int = LIMIT) -> bool:
    """Count an attempt, and return whether it is within the limit.

    `Counter` explains the subjects. The count starts again a WINDOW after its first
    attempt. Runs two queries.
    """
    return _count([Counter(kind, subject, limit)]) is None


def count_visitor_mail(request_address: str, email: str) -> bool:
    """Count an email that a visitor requests, and return whether it is within limits.

    `request_address` is the visitor's IP address. `email` is the address that they
    entered, in its normal form.
    """
    counters = [
        Counter("mail for visitors", request_address, ADDRESS_LIMIT),
        Counter("mail", email),
    ]
    return _count(counters) is None


def count_for_user(kind: Kind, user: User, subject: str | int | None = None) -> bool:
    """Count a user's attempt, and return whether it is within the limit.

    The default subject is the user's key. The first attempt that exceeds the limit is
    recorded as a lock-out.
    """
    counter = Counter(kind, user.pk if subject is None else subject)
    if _count([counter]) is None:
        return True
    record_lock_out(kind, user, user.get_username())
    return False


def forget_attempts(kind: Kind, subject: str | int) -> None:
    """Delete the count of attempts, so that counting starts again."""
    SignInAttempt.objects.filter(key=Counter(kind, subject).key).delete()


def code_subject(user: User, request: HttpRequest) -> str:
    """Return the subject of the count of second factor codes.

    Each device that the account knows has its own count, so wrong codes on other
    devices do not lock it out.
    """
    return f"{user.pk} {find_device(request, user)}".strip()


def take_back(kind: Kind, subject: str | int) -> None:
    """Subtract one attempt from the count."""
    SignInAttempt.objects.take_back(Counter(kind, subject).key)


class SignInAttemptCount:
    """Counts an attempt to sign in.

    On a device on which the person has signed in before, attempts are counted by
    device, so that nobody else can lock the person out there. All other attempts are
    counted by name and IP address, by IP address, and by name. They are also counted by
    account, because a person can use two names: their username and their email address.

    `text` is the name that was typed. `user` is the account that it belongs to, or
    None.
    """

    def __init__(self, request: HttpRequest, text: str) -> None:
        self.user = find_person(request, text)
        self.username = self.user.get_username() if self.user else text
        self.name = normalize_sign_in_name(text)
        self.counters = self._find_counters(request)
        self.exceeded: Counter | None = None

    def _find_counters(self, request: HttpRequest) -> list[Counter]:
        device = find_device(request, self.user) if self.user else ""
        if self.user and device:
            return [Counter("device", f"{self.user.pk} {device}")]
        address = find_address(request)
        account = self.user.pk if self.user else self.name
        return [
            Counter("sign-in", f"{self.name}\n{address}"),
            Counter("address", address, ADDRESS_LIMIT),
            Counter("username", self.name, USERNAME_LIMIT),
            Counter("account", f"{account}\n{address}"),
            Counter("account anywhere", account, USERNAME_LIMIT),
        ]

    def count(self) -> bool:
        """Count the attempt, and return whether it is within all limits.

        If a limit is exceeded, records a lock-out, except for the limit of an IP
        address, which is not about this person.
        """
        self.exceeded = _count(self.counters)
        if self.exceeded is None:
            return True
        if self.exceeded.kind != "address":
            record_lock_out("sign-in", self.user, self.username)
        return False

    @property
    def is_refused_at_once(self) -> bool:
        """Whether to refuse the attempt without hashing a password.

        A fast response reveals that a limit is exceeded. An account's username and
        email address share the limits of the account, so these limits must not be
        revealed. Otherwise, someone could exceed them with a username, and then try
        email addresses until one is also refused fast.
        """
        if self.exceeded is None:
            return False
        return self.exceeded.kind not in ("account", "account anywhere")

    def succeed(self) -> None:
        """Remove the attempt from all counts, because the password was right.

        Earlier attempts are also removed, except from counts that several people or
        several IP addresses share.
        """
        for counter in self.counters:
            if counter.kind in ("address", "username", "account anywhere"):
                SignInAttempt.objects.take_back(counter.key)
            else:
                forget_attempts(counter.kind, counter.subject)


def find_person(request: HttpRequest, text: str) -> User | None:
    """Return the user who has this username or email address.

    The email address of one person can be the username of another. In that case, this
    returns the person who has signed in on this device before, or else the person with
    the email address. Always runs one query, so that the time does not reveal anything.
    """
    candidates = User.objects.find_for_sign_in(text)
    for user in candidates:
        if find_device(request, user):
            return user
    return candidates[0] if candidates else None


def record_lock_out(kind: Kind, user: User | None, username: str) -> None:
    """Record that someone exceeded a limit, at most once in a WINDOW.

    The event can send the user an email. `user` is None if nobody has this username.
    The event does not contain the username, because people sometimes type their
    password there. The event is recorded after the response, so that the response time
    does not reveal whether an email is sent.
    """
    subject = user.pk if user else f"name {normalize_sign_in_name(username)}"
    if SignInAttempt.objects.count_one(Counter("lock-out", subject).key).count > 1:
        return
    run_after_response(
        partial(
            record,
            SecurityEvent.LOCKED_OUT,
            user=user,
            details={"kind": kind},
        )
    )


def _count(counters: Sequence[Counter]) -> Counter | None:
    """Count an attempt with each counter, and return the first counter over its limit.

    The remaining counters do not count the attempt, because it is refused anyway.
    Returns None if all counters are within their limits.
    """
    request = current_request.get()
    if request is not None:
        # `User.check_password()` requires this before it compares a password.
        request.counted_attempt = True  # type: ignore[attr-defined]
    SignInAttempt.objects.delete_expired()
    for counter in counters:
        if not counter.count():
            return counter
    return None
