"""The audit log: sign-ins, credentials, permissions, and other security events.

Each row is sealed after its transaction has committed: it gets the next position, and a
hash of its content and the previous hash. After that, only the names and addresses in a
row can change, when a person is erased. Any other change breaks the chain, and so does
the removal of a row that is not the last one. `manage.py doctor` reports this.

Sealing is a separate step because only one process at a time can extend the chain. If
rows were sealed when they are written, every transaction with a security event would
have to wait for all others.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import connection, models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.append_only import AppendOnlyQuerySet
from orgadmin.access.batches import split_into_batches
from orgadmin.access.origin import get_origin
from orgadmin.access.sql import lock_until_commit

if TYPE_CHECKING:
    from orgadmin.models import AuditEvent, User

logger = logging.getLogger("orgadmin.audit")

BATCH = 1_000  # rows that are written, sealed or verified together

# The key of the advisory lock that a process holds while it seals rows.
SEAL_LOCK = 0x0A0D17

# An event is normally sealed right after its transaction. If it is still not sealed
# after this time, something went wrong: for example, the process was killed.
SEALING_TIME = datetime.timedelta(minutes=1)


class SecurityEvent(models.TextChoices):
    """The kinds of events. The table stores the first text, so it must not change."""

    SIGNED_IN = "signed in", _("signed in")
    SIGN_IN_FAILED = "sign-in failed", _("sign-in failed")
    LOCKED_OUT = "locked out", _("too many failed attempts")
    LOCK_OUT_LINK_USED = (
        "lock-out link used",
        _("link to try again used"),
    )
    IDENTITY_CONFIRMED = "identity confirmed", _("confirmed their identity")
    SIGNED_OUT = "signed out", _("signed out")
    SESSION_ENDED = "session ended", _("signed out on one device")
    SESSIONS_ENDED = "sessions ended", _("signed out everywhere")
    USERNAME_CHANGED = "username changed", _("username changed")
    PASSWORD_LINK_REQUESTED = (
        "password link requested",
        _("link to set a password requested"),
    )
    PASSWORD_CHANGED = "password changed", _("password changed")
    EMAIL_CHANGED = "email changed", _("email address changed")
    EMAIL_VERIFIED = "email verified", _("email address verified")
    FACTOR_ADDED = "factor added", _("second factor added")
    FACTOR_REMOVED = "factor removed", _("second factor removed")
    RECOVERY_CODES_CREATED = "recovery codes created", _("new recovery codes created")
    RECOVERY_CODES_VIEWED = "recovery codes viewed", _("recovery codes viewed")
    PROVIDER_LINKED = "provider linked", _("company account linked")
    PROVIDER_UNLINKED = "provider unlinked", _("company account unlinked")
    PROVIDER_REFUSED = "provider refused", _("company sign-in refused")
    USER_CREATED = "user created", _("account created")
    USER_DELETED = "user deleted", _("account deleted")
    FLAGS_CHANGED = "flags changed", _("staff status changed")
    PERMISSIONS_CHANGED = "permissions changed", _("permissions changed")
    ACTIVATED = "activated", _("account activated")
    DEACTIVATED = "deactivated", _("account deactivated")
    GROUP_RENAMED = "group renamed", _("group renamed")
    GROUP_DELETED = "group deleted", _("group deleted")
    PEOPLE_VIEWED = "people viewed", _("list of all people viewed")
    ACCESS_REQUESTED = "access requested", _("access requested")
    ACCESS_DECLINED = "access declined", _("request for access declined")
    ACCESS_LINK_CREATED = (
        "access link created",
        _("link to ask for access created"),
    )
    ACCESS_LINK_REMOVED = (
        "access link removed",
        _("link to ask for access switched off"),
    )
    VIEWING_STARTED = "viewing started", _("site viewed as this person")
    VIEWING_ENDED = "viewing ended", _("site no longer viewed as this person")
    EXPORTED = "exported", _("exported")
    IMPORTED = "imported", _("imported")
    IMPORT_REFUSED = "import refused", _("import refused")
    IMPORT_UNDONE = "import undone", _("import undone")
    ORGANIZATIONS_ARCHIVED = "organizations archived", _("organizations archived")
    ORGANIZATIONS_RESTORED = "organizations restored", _("organizations restored")
    ORGANIZATIONS_TRASHED = (
        "organizations trashed",
        _("organizations moved to the trash"),
    )
    ORGANIZATIONS_DELETED = "organizations deleted", _("organizations deleted")
    ROLES_CHANGED = "roles changed", _("many roles changed at once")
    VERSION_RESTORED = "version restored", _("earlier version restored")
    REPAIRED = "repaired", _("repaired by the doctor")
    FIXTURES_LOADED = "fixtures loaded", _("fixtures loaded")
    PERSON_EXPORTED = "person exported", _("personal data exported")
    PERSON_ERASED = "person erased", _("personal data erased")
    REVIEW_STARTED = "review started", _("access review started")
    REVIEW_CLOSED = "review closed", _("access review closed early")
    REVIEW_CANCELLED = "review cancelled", _("access review canceled")
    REVIEW_COMPLETED = "review completed", _("access review completed")


# The events that people can see about their own account. The others are about data, or
# about what someone did to other people.
ACCOUNT_EVENTS = frozenset(SecurityEvent) - {
    SecurityEvent.GROUP_RENAMED,
    SecurityEvent.GROUP_DELETED,
    SecurityEvent.PEOPLE_VIEWED,
    SecurityEvent.EXPORTED,
    SecurityEvent.IMPORTED,
    SecurityEvent.IMPORT_REFUSED,
    SecurityEvent.IMPORT_UNDONE,
    SecurityEvent.ORGANIZATIONS_ARCHIVED,
    SecurityEvent.ORGANIZATIONS_RESTORED,
    SecurityEvent.ORGANIZATIONS_TRASHED,
    SecurityEvent.ORGANIZATIONS_DELETED,
    SecurityEvent.ROLES_CHANGED,
    SecurityEvent.ACCESS_LINK_CREATED,
    SecurityEvent.ACCESS_LINK_REMOVED,
    SecurityEvent.VERSION_RESTORED,
    SecurityEvent.REPAIRED,
    SecurityEvent.FIXTURES_LOADED,
    SecurityEvent.REVIEW_STARTED,
    SecurityEvent.REVIEW_CLOSED,
    SecurityEvent.REVIEW_CANCELLED,
    SecurityEvent.REVIEW_COMPLETED,
}

# Called with each event, in the transaction that seals it. What a listener writes is
# therefore neither lost nor written twice. If a listener fails, the error is logged,
# and the event is sealed nevertheless. Listeners that run queries must use a savepoint.
listeners: list[Callable[[AuditEvent], None]] = []


class AuditEventQuerySet(AppendOnlyQuerySet):
    def about(self, user: User) -> AuditEventQuerySet:
        """Return the ACCOUNT_EVENTS about a user, newest first."""
        events = self.filter(user_key=user.pk, event__in=sorted(ACCOUNT_EVENTS))
        return events.order_by("-pk")


def record(
    event: SecurityEvent,
    *,
    user: User | None = None,
    actor: User | None = None,
    details: Mapping[str, Any] | None = None,
    personal: Mapping[str, str] | None = None,
) -> None:
    """Add an event to the audit log, in the current transaction.

    `user` is the person that the event is about. It is None if the event is not about a
    person, and if someone tried to sign in with a name that does not exist. Never
    record what was typed, because people sometimes type their password as their name.
    `actor` is None for a command, or if it is not known who acted.

    `details` are plain values without personal data, such as keys and field names.
    `personal` are values that are erased together with the person, such as email
    addresses. Neither may contain passwords, codes or links.

    After the transaction has committed, the event is sealed, passed to `listeners`, and
    written to the request log.
    """
    record_all(
        event,
        [user],
        actor=actor,
        details=details,
        personal=personal,
    )


def record_all(
    event: SecurityEvent,
    users: Iterable[User | None],
    *,
    actor: User | None = None,
    details: Mapping[str, Any] | None = None,
    personal: Mapping[str, str] | None = None,
) -> None:
    """Add the same event for several people, with one query per BATCH people.

    The other arguments are as in `record()`.
    """
    AuditEvent = apps.get_model("orgadmin", "AuditEvent")
    origin = get_origin()
    rows = (
        AuditEvent(
            event=event,
            user_key=user.pk if user else None,
            user_name=user.get_username() if user else "",
            actor_key=actor.pk if actor else None,
            actor_name=actor.get_username() if actor else "",
            details=details or {},
            personal=personal or {},
            network=origin.network,
            request_id=origin.request_id,
        )
        for user in users
    )
    with transaction.atomic(savepoint=False):
        for batch in split_into_batches(rows, BATCH):
            AuditEvent.objects.bulk_create(batch)
    # `robust`: the change is already committed, so an error in `publish()` must not
    # make it look as if it had failed. Events that could not be sealed now are sealed
    # with the next event.
    transaction.on_commit(publish, robust=True)


def publish() -> int:
    """Seal all unsealed events, write them to the request log, and return their number.

    The line about an event is written after its seal has been committed. If this
    process is killed in between, the request log has no line about the event, but the
    audit log has the event.
    """
    total = 0
    # Checked without the lock: if another process has sealed the events in the
    # meantime, this one does not have to wait.
    while find_unsealed().exists():
        events = seal()
        for event in events:
            logger.info("%s", event.event, extra=event.describe())
        total += len(events)
        if len(events) < BATCH:
            break
    return total


def tell_listeners(event: AuditEvent) -> None:
    """Call all listeners with an event. Log their errors, and continue."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("A listener failed on event %s.", event.position)


def find_unsealed(older_than: datetime.timedelta | None = None) -> models.QuerySet:
    """Return the events without a position, oldest first.

    With `older_than`, returns only those that were recorded longer ago.
    """
    AuditEvent = apps.get_model("orgadmin", "AuditEvent")
    events = AuditEvent.objects.filter(position__isnull=True).order_by("pk")
    if older_than is not None:
        events = events.filter(at__lt=timezone.now() - older_than)
    return events


def find_last() -> AuditEvent | None:
    """Return the last event of the chain, or None if no event has been sealed."""
    AuditEvent = apps.get_model("orgadmin", "AuditEvent")
    sealed = AuditEvent.objects.filter(position__isnull=False)
    return sealed.order_by("position").last()


@transaction.atomic
def seal() -> list[AuditEvent]:
    """Give up to BATCH unsealed events their position and hash, and return them.

    Passes the events to the listeners. Runs up to four queries, plus the queries of the
    listeners.
    """
    lock_until_commit(SEAL_LOCK)
    pending = list(find_unsealed()[:BATCH])
    if not pending:
        return []
    last = find_last()
    position = cast(int, last.position) if last else 0
    previous_hash = last.hash if last else ""
    for event in pending:
        position += 1
        event.position = position
        event.hash = compute_hash(event, previous_hash)
        previous_hash = event.hash
    _write_seals(pending)
    for event in pending:
        tell_listeners(event)
    return pending


def _write_seals(events: Sequence[AuditEvent]) -> None:
    """Store positions and hashes with one prepared statement.

    `AuditEventQuerySet` refuses updates, and `bulk_update()` would build a large CASE
    expression. The trigger on PostgreSQL allows this update, because it sets the
    position of a row that has none.
    """
    statement = """
        UPDATE orgadmin_auditevent
        SET position = %s, hash = %s
        WHERE id = %s AND position IS NULL
    """
    seals = [(event.position, event.hash, event.pk) for event in events]
    with connection.cursor() as cursor:
        cursor.executemany(statement, seals)


def compute_hash(event: AuditEvent, previous_hash: str) -> str:
    """Return the hash of an event's content and the previous event's hash.

    The hash does not cover names and email addresses, so that a person can be erased
    from the log. It covers the IDs of people, so that an event cannot be attributed to
    someone else without breaking the chain.
    """
    content = {
        "previous": previous_hash,
        "position": event.position,
        "at": event.at.astimezone(datetime.UTC).isoformat(),
        "event": event.event,
        "user_key": event.user_key,
        "actor_key": event.actor_key,
        "details": event.details,
        "network": event.network,
        "request_id": event.request_id,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ChainProblem:
    """A place where the chain is broken."""

    position: int
    text: str


def verify() -> Iterator[ChainProblem]:
    """Yield the places where a sealed event was removed, inserted or changed.

    Reads the whole log, with one query per BATCH events. This does not detect events
    that were removed from the end. To detect these, compare the last hash with a copy
    of the request log. The names and addresses in events are not checked.
    """
    expected_position = 1
    previous_hash = ""
    for event in read_chain():
        position = cast(int, event.position)
        if position > expected_position:
            text = f"events {expected_position} to {position - 1} are missing"
            yield ChainProblem(expected_position, text)
        elif position < expected_position:
            # Positions are unique, so only an event before the first one gets here.
            yield ChainProblem(position, "the event was inserted")
        elif event.hash != compute_hash(event, previous_hash):
            yield ChainProblem(position, "the event was changed")
        expected_position = position + 1
        previous_hash = event.hash


def read_chain(events: models.QuerySet | None = None) -> Iterator[AuditEvent]:
    """Yield sealed events in the order of the chain, with up to BATCH in memory.

    `events` limits which events are read. By default, all are. Runs one query per
    batch, because a single query would first store its whole result.
    """
    if events is None:
        events = apps.get_model("orgadmin", "AuditEvent").objects.all()
    in_order = events.order_by("position")
    remaining = in_order.filter(position__isnull=False)
    while True:
        batch = list(remaining[:BATCH])
        yield from batch
        if len(batch) < BATCH:
            return
        remaining = in_order.filter(position__gt=batch[-1].position)
