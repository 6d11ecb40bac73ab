"""Keys in the logs, and the sequences that must not issue these keys again.

The logs and the history refer to organizations and people by key, even after these are
deleted. If a new organization got the key of a deleted organization, its members could
read log entries about the deleted one. Therefore, no key must be issued twice.

A database issues each key only once. But if data is copied into another database, the
sequences there may continue after the highest existing key, which can be lower than the
key of a deleted row. Django's `loaddata` even lowers sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import connections, models, transaction
from django.db.models import BigIntegerField, Max
from django.db.models.functions import Cast

from orgadmin.models import (
    AccessReview,
    AuditEvent,
    Contact,
    Import,
    KeptLogEntry,
    LaterDecision,
    MembershipEvent,
    Organization,
    ReviewDecision,
    ReviewItem,
    ReviewNotice,
    ReviewSection,
    User,
)
from orgadmin.records.batches import BATCH

Model: TypeAlias = type[models.Model]


@dataclass(frozen=True)
class Column:
    """A column that contains keys of another table, but is not a foreign key."""

    model: Model
    name: str


# {table: columns that contain its keys}. Django's admin log also contains the keys of
# objects that people edit, and the audit log contains the keys in DETAILS. The keys of
# LogEntry must be unique, because the history page sorts log entries by key, including
# those of deleted users.
COLUMNS: dict[Model, Sequence[Column]] = {
    Organization: (
        Column(Organization.history.model, "id"),
        Column(MembershipEvent, "organization_key"),
        Column(ReviewSection, "organization_key"),
        Column(ReviewItem, "organization_key"),
        Column(ReviewNotice, "organization_key"),
    ),
    User: (
        Column(MembershipEvent, "user_key"),
        Column(MembershipEvent, "actor_key"),
        Column(AuditEvent, "user_key"),
        Column(AuditEvent, "actor_key"),
        Column(Organization.history.model, "history_user_key"),
        Column(Organization, "archived_by_key"),
        Column(Organization, "trashed_by_key"),
        Column(KeptLogEntry, "user_key"),
        Column(ReviewItem, "user_key"),
        Column(ReviewItem, "added_by_key"),
        Column(ReviewDecision, "actor_key"),
        Column(LaterDecision, "actor_key"),
        Column(ReviewNotice, "user_key"),
        Column(AccessReview, "started_by_key"),
        Column(AccessReview, "closed_by_key"),
        Column(Import, "actor_key"),
        Column(Import, "undone_by_key"),
    ),
    Contact: (),
    Group: (),
    LogEntry: (Column(KeptLogEntry, "entry_key"),),
}

# {name in the details of audit events: the table whose keys it contains}
DETAILS: dict[str, Model] = {
    "organization": Organization,
    "organizations": Organization,
    "group": Group,
    "groups added": Group,
    "groups removed": Group,
}


# Names in DETAILS whose values are lists of keys. If the value is a number, it is the
# number of objects, not a key.
LISTS = frozenset({"organizations", "groups added", "groups removed"})


@dataclass(frozen=True)
class OutdatedSequence:
    """A sequence that would issue a key that has already been used."""

    model: Model
    last_issued: int
    last_known: int

    def __str__(self) -> str:
        return (
            f"the next new {self.model._meta.verbose_name} would get the ID"
            f" {self.last_issued + 1}, but IDs up to {self.last_known} have been used"
        )


def find_outdated_sequences(*, using: str = "default") -> Iterator[OutdatedSequence]:
    """Yield the sequences that are lower than a key in their table or in a log.

    Reads the logs completely.
    """
    last_known = find_last_known(using)
    for model in COLUMNS:
        last_issued = read_sequence(model, using)
        if last_issued < last_known[model]:
            yield OutdatedSequence(model, last_issued, last_known[model])


def raise_sequences(*, using: str = "default") -> list[OutdatedSequence]:
    """Set sequences that would issue a used key again to higher values.

    Returns these sequences.
    """
    with transaction.atomic(using=using):
        outdated = list(find_outdated_sequences(using=using))
        for sequence in outdated:
            raise_sequence(sequence.model, sequence.last_known, using)
    return outdated


def find_last_known(using: str) -> dict[Model, int]:
    """Return {table: the highest key in the table and the logs}."""
    last_known = {}
    for model, columns in COLUMNS.items():
        candidates = [0, find_highest(Column(model, "pk"), using)]
        candidates += [find_highest(column, using) for column in columns]
        candidates.append(find_highest_in_admin_log(model, using))
        last_known[model] = max(candidates)
    authors = find_highest(Column(LogEntry, "user"), using)
    last_known[User] = max(last_known[User], authors)
    for model, key in read_keys_in_details(using):
        last_known[model] = max(last_known[model], key)
    return last_known


def find_highest(column: Column, using: str) -> int:
    rows = column.model._base_manager.using(using)
    return rows.aggregate(highest=Max(column.name))["highest"] or 0


def find_highest_in_admin_log(model: Model, using: str) -> int:
    """Return the highest key of a table in Django's admin log.

    The log stores keys as text.
    """
    content_type = ContentType.objects.db_manager(using).get_for_model(model)
    highest = Max(Cast("object_id", BigIntegerField()))
    keys = [0]
    for log in (LogEntry, KeptLogEntry):
        entries = log._base_manager.using(using).filter(
            content_type=content_type, object_id__regex="^[0-9]{1,18}$"
        )
        keys.append(entries.aggregate(highest=highest)["highest"] or 0)
    return max(keys)


def read_keys_in_details(using: str) -> Iterator[tuple[Model, int]]:
    """Yield (table, key) for the keys in the details of audit events."""
    events = AuditEvent.objects.using(using).filter(details__has_any_keys=list(DETAILS))
    all_details = events.values_list("details", flat=True)
    for details in all_details.iterator(chunk_size=BATCH):
        for name, model in DETAILS.items():
            value: Any = details.get(name, [])
            keys = value if name in LISTS else [value]
            if isinstance(keys, list):
                yield from ((model, key) for key in keys if isinstance(key, int))


def read_sequence(model: Model, using: str) -> int:
    """Return the last key that the sequence of a table has issued."""
    table = model._meta.db_table
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            row = cursor.fetchone()
            return row[0] if row else 0
        # The name comes from PostgreSQL, already quoted.
        cursor.execute(
            f"SELECT last_value, is_called FROM {find_sequence(cursor, table)}"
        )
        last_value, is_called = cursor.fetchone()
    return last_value if is_called else last_value - 1


def find_sequence(cursor: Any, table: str) -> str:
    cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
    [name] = cursor.fetchone()
    return name


def raise_sequence(model: Model, key: int, using: str) -> None:
    """Make a sequence continue after a key, unless it already does."""
    table = model._meta.db_table
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Otherwise, concurrent INSERTs could get higher keys before `setval` runs,
            # which would then lower the sequence.
            cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        if read_sequence(model, using) >= key:
            return
        if connection.vendor == "postgresql":
            cursor.execute("SELECT setval(%s, %s)", [find_sequence(cursor, table), key])
            return
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
        cursor.execute("INSERT INTO sqlite_sequence VALUES (%s, %s)", [table, key])


def make_raising_sql(model: Model, key: int) -> str:
    """Return a statement for PostgreSQL that makes a sequence continue after a key.

    The statement never lowers the sequence below the keys that are in the table or that
    were issued before the statement runs.
    """
    table = model._meta.db_table
    sequence = f"pg_get_serial_sequence('{table}', 'id')"
    return (
        f"SELECT setval({sequence}, GREATEST({key}, MAX(id),"
        f" COALESCE(pg_sequence_last_value({sequence}::regclass), 1))) FROM {table};"
    )
