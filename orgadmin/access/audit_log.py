"""The audit log: sign-ins, credentials, permissions, and other security events.

Rows are only ever added. Each row is sealed after its transaction has committed: it
gets the next position, and a hash of its content and of the hash before it. So a row
that is changed or removed later breaks the chain, and `manage.py doctor` reports it.

Sealing is a step of its own because a chain needs one writer at a time. If rows were
chained when they are written, every transaction with a security event would wait for
all others.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NoReturn, cast

from django.apps import apps
from django.db import NotSupportedError, connection, models, transaction
from django.utils.translation import gettext_lazy as _

from orgadmin.access.origin import get_origin

if TYPE_CHECKING:
    from orgadmin.models import AuditEvent, User

logger = logging.getLogger("orgadmin.audit")

BATCH = 1_000  # rows that are sealed or verified together

# Identifies the lock that only one process at a time holds to seal rows.
SEAL_LOCK = 0x0A0D17


class SecurityEvent(models.TextChoices):
    SIGNED_IN = "signed in", _("signed in")
    SIGN_IN_FAILED = "sign-in failed", _("sign-in failed")
    LOCKED_OUT = "locked out", _("too many failed attempts")
    IDENTITY_CONFIRMED = "identity confirmed", _("confirmed their identity")
    SIGNED_OUT = "signed out", _("signed out")
    SESSIONS_ENDED = "sessions ended", _("signed out everywhere")
    PASSWORD_CHANGED = "password changed", _("password changed")
    EMAIL_CHANGED = "email changed", _("email address changed")
    EMAIL_VERIFIED = "email verified", _("email address verified")
    FACTOR_ADDED = "factor added", _("second factor added")
    FACTOR_REMOVED = "factor removed", _("second factor removed")
    PROVIDER_LINKED = "provider linked", _("company account linked")
    PROVIDER_UNLINKED = "provider unlinked", _("company account unlinked")
    PROVIDER_REFUSED = "provider refused", _("company sign-in refused")
    USER_CREATED = "user created", _("account created")
    USER_DELETED = "user deleted", _("account deleted")
    FLAGS_CHANGED = "flags changed", _("staff status changed")
    PERMISSIONS_CHANGED = "permissions changed", _("permissions changed")
    ACTIVATED = "activated", _("account activated")
    DEACTIVATED = "deactivated", _("account deactivated")
    PEOPLE_VIEWED = "people viewed", _("list of all people viewed")
    EXPORTED = "exported", _("exported")
    IMPORTED = "imported", _("imported")
    PERSON_EXPORTED = "person exported", _("personal data exported")
    PERSON_ERASED = "person erased", _("personal data erased")


# Called with each event after it was sealed, outside of any transaction.
listeners: list[Callable[[AuditEvent], None]] = []


def refuse_to_change(*args: object, **kwargs: object) -> NoReturn:
    raise NotSupportedError("The audit log is append-only.")


class AuditEventQuerySet(models.QuerySet):
    update = refuse_to_change
    delete = refuse_to_change


def record(
    event: SecurityEvent,
    *,
    user: User | None = None,
    user_name: str = "",
    actor: User | None = None,
    details: Mapping[str, Any] | None = None,
    personal: Mapping[str, str] | None = None,
) -> None:
    """Add an event to the audit log, in the current transaction.

    `user` is the person that the event is about. If there is no such account, for
    example after a failed sign-in, `user_name` is what was typed. `actor` is None for a
    command, or if it is not known who acts. `details` are plain values without personal
    data, such as keys and the names of fields; `personal` are values that are erased
    with the person, such as email addresses. Neither has passwords, codes or links.

    Once the transaction commits, the event is sealed, written to the site's log, and
    passed to `listeners`.
    """
    record_all(
        event,
        [user],
        user_name=user_name,
        actor=actor,
        details=details,
        personal=personal,
    )


def record_all(
    event: SecurityEvent,
    users: Iterable[User | None],
    *,
    user_name: str = "",
    actor: User | None = None,
    details: Mapping[str, Any] | None = None,
    personal: Mapping[str, str] | None = None,
) -> None:
    """Add one event for each of several people, with one query per BATCH people."""
    AuditEvent = apps.get_model("orgadmin", "AuditEvent")
    origin = get_origin()
    rows = [
        AuditEvent(
            event=event,
            user_key=user.pk if user else None,
            user_name=user.get_username() if user else user_name[:254],
            actor_key=actor.pk if actor else None,
            actor_name=actor.get_username() if actor else "",
            details=details or {},
            personal=personal or {},
            network=origin.network,
            request_id=origin.request_id,
        )
        for user in users
    ]
    AuditEvent.objects.bulk_create(rows, batch_size=BATCH)
    # `robust`: the change is committed, so an error must not make it look failed. The
    # next event seals what this one could not.
    transaction.on_commit(publish, robust=True)


def publish() -> None:
    """Seal the events that are not sealed yet, and announce them.

    They are announced after the commit: an event may be announced twice if this process
    is killed before the commit returns, but never before it is certain.
    """
    for event in seal():
        logger.info("%s", event.event, extra=event.describe())
        for listener in listeners:
            listener(event)


@transaction.atomic
def seal() -> list[AuditEvent]:
    """Give each event without a position the next one, and the hash of the chain."""
    AuditEvent = apps.get_model("orgadmin", "AuditEvent")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SEAL_LOCK])
    pending = list(
        AuditEvent.objects.filter(position__isnull=True).order_by("pk")[:BATCH]
    )
    sealed = AuditEvent.objects.filter(position__isnull=False)
    last = sealed.order_by("position").last()
    position = (last.position or 0) if last else 0
    previous_hash = last.hash if last else ""
    for event in pending:
        position += 1
        event.position = position
        event.hash = compute_hash(event, previous_hash)
        previous_hash = event.hash
        # Django's own queryset, because ours refuses updates. The trigger on PostgreSQL
        # allows this one: it sets the position of a row that has none.
        models.QuerySet(AuditEvent).filter(pk=event.pk).update(
            position=event.position, hash=event.hash
        )
    return pending


def compute_hash(event: AuditEvent, previous_hash: str) -> str:
    """Return the hash of an event's content together with the hash before it.

    It does not cover names and email addresses, so that a person can be erased from the
    log. It covers their keys, so that an event cannot be attributed to someone else.
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
    """Yield the places where an event was removed, inserted or changed.

    Reads the whole log, one batch at a time. Events that were removed from the end
    cannot be noticed here; compare the last hash with a copy of the site's log.
    """
    AuditEvent = apps.get_model("orgadmin", "AuditEvent")
    sealed = AuditEvent.objects.filter(position__isnull=False).order_by("position")
    expected_position = 1
    previous_hash = ""
    for event in sealed.iterator(chunk_size=BATCH):
        position = cast(int, event.position)
        if position != expected_position:
            text = f"events {expected_position} to {position - 1} are missing"
            yield ChainProblem(expected_position, text)
        elif event.hash != compute_hash(event, previous_hash):
            yield ChainProblem(position, "the event was changed")
        expected_position = position + 1
        previous_hash = event.hash
