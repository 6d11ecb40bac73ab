"""Limits on attempts to guess passwords and codes, and on emails to one address.

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

LIMIT = 10  # attempts in a WINDOW, as models/sign_in_attempt.py defines it

# For attempts from devices that the account does not know, from all addresses together.
USERNAME_LIMIT = 100

# For attempts from one address with any username, except from known devices. Also for
# emails that visitors at one address ask for.
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
    """What an attempt is counted by. `subject` depends on `kind`:

    A name is a username or an email address, in its normal form. An account is the key
    of a user, or a name that nobody has.

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
    - "used challenge": what a browser was asked to sign for a passkey
    - "lock-out": the account that is locked out
    - "refused company account": a provider, why it was refused, and the person there
    - "logout token": the IP address of a server that reports a sign-out
    - "used logout token": a provider and the ID of such a report
    - "mail": an email address that a visitor has entered
    - "mail for visitors": the IP address of a visitor who has entered an email address
    - "own mail": the key of the user who asks for an email to their own address
    - "password link": the key of the user to whom platform staff send a link
    - "invitation mail": the key of an organization, and the invited email address
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

    `Counter` explains the subjects. Counting starts again WINDOW after the first
    attempt. Runs two queries.
    """
    return _count([Counter(kind, subject, limit)]) is None


def count_visitor_mail(request_address: str, email: str) -> bool:
    """Count an email that a visitor asks for, and return whether it is within limits.

    `request_address` is the visitor's IP address, `email` what they entered, in its
    normal form.
    """
    counters = [
        Counter("mail for visitors", request_address, ADDRESS_LIMIT),
        Counter("mail", email),
    ]
    return _count(counters) is None


def count_for_user(kind: Kind, user: User, subject: str | int | None = None) -> bool:
    """Count a user's attempt, and return whether it is within the limit.

    The subject is the key of the user unless one is given. The first attempt that is
    refused is recorded as a lock-out.
    """
    counter = Counter(kind, user.pk if subject is None else subject)
    if _count([counter]) is None:
        return True
    record_lock_out(kind, user, user.get_username())
    return False


def forget_attempts(kind: Kind, subject: str | int) -> None:
    """Delete the count of attempts, so that all of them are available again."""
    SignInAttempt.objects.filter(key=Counter(kind, subject).key).delete()


def code_subject(user: User, request: HttpRequest) -> str:
    """Return the subject for counting codes of a second factor.

    Wrong codes from other devices do not lock out a device that the user knows.
    """
    return f"{user.pk} {find_device(request, user)}".strip()


def take_back(kind: Kind, subject: str | int) -> None:
    """Undo the counting of one attempt."""
    SignInAttempt.objects.take_back(Counter(kind, subject).key)


class SignInAttemptCount:
    """Counts an attempt to sign in.

    On a device on which the person has signed in before, attempts are counted by
    device. So nobody else can lock the person out there. All other attempts are counted
    by name and IP address, by IP address, and by name. After that, they are counted by
    account, because a person has two names: the username and the email address.

    `text` is the name that the person typed. `user` is whom it means, or None.
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
        """Count the attempt, and return whether it is within all limits."""
        self.exceeded = _count(self.counters)
        if self.exceeded is None:
            return True
        if self.exceeded.kind != "address":
            record_lock_out("sign-in", self.user, self.username)
        return False

    @property
    def is_refused_at_once(self) -> bool:
        """Whether a limit is exceeded, and the response may show it by its time.

        The limits of an account must not show. Otherwise, someone could use up those of
        a username, and then see which email address belongs to the same account.
        """
        if self.exceeded is None:
            return False
        return self.exceeded.kind not in ("account", "account anywhere")

    def succeed(self) -> None:
        """Do not count the attempt, because the password was right.

        Earlier attempts are forgotten, too, except those that count for several people
        or from several addresses.
        """
        for counter in self.counters:
            if counter.kind in ("address", "username", "account anywhere"):
                SignInAttempt.objects.take_back(counter.key)
            else:
                forget_attempts(counter.kind, counter.subject)


def find_person(request: HttpRequest, text: str) -> User | None:
    """Return the user whom a username or an email address means at sign-in.

    Someone may have the address that is the username of someone else. Then it means the
    one who has signed in on this device, or else the one whose address it is. Runs one
    query, so that this takes the same time for all texts.
    """
    candidates = User.objects.find_for_sign_in(text)
    for user in candidates:
        if find_device(request, user):
            return user
    return candidates[0] if candidates else None


def record_lock_out(kind: Kind, user: User | None, username: str) -> None:
    """Record that someone used up their attempts, once in a WINDOW.

    `user` is None if nobody has this username, and then no email is sent, and the event
    names nobody: people sometimes type their password as their name. The response does
    not wait for the email, so that its time does not reveal whether there is one.
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
    """Count an attempt by each counter, and return the first one that is exceeded.

    The counters after it do not count the attempt: it is refused already.
    """
    request = current_request.get()
    if request is not None:
        # `User.check_password()` refuses to compare a password before this.
        request.counted_attempt = True  # type: ignore[attr-defined]
    SignInAttempt.objects.delete_expired()
    for counter in counters:
        if not counter.count():
            return counter
    return None
