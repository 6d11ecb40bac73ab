"""Activity from the field history of organizations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.origin import IMPORT, UNDO
from orgadmin.access.sql import placeholders
from orgadmin.models import User
from orgadmin.models.history import find_author
from orgadmin.records.feed.entries import Entry, Row
from orgadmin.records.feed.scope import Scope
from orgadmin.records.history import list_visible_changes, make_stand_in
from orgadmin.records.versions import VERSIONS, cut_texts

# How much of a change an entry shows
MAX_VALUE_SHOWN = 60  # characters of a value
MAX_FIELDS_SHOWN = 3

# Selects the keys of the newest records that meet a condition, and for each of them the
# key of the record before it of the same organization. This is SQL, because the ORM
# would need more time to compile the query than a database needs to execute it.
# Parameters: the parameters of the condition, and the maximum number of records.
NEWEST_AND_EARLIER = """
    WITH newest AS (
        SELECT history_id
        FROM orgadmin_historicalorganization
        WHERE {condition}
        ORDER BY history_id DESC
        LIMIT %s
    )
    SELECT history_id FROM newest
    UNION ALL
    SELECT (
        SELECT MAX(earlier.history_id)
        FROM orgadmin_historicalorganization earlier
        WHERE earlier.id = record.id AND earlier.history_id < record.history_id
    )
    FROM newest
    JOIN orgadmin_historicalorganization record
        ON record.history_id = newest.history_id
"""


@dataclass(frozen=True)
class Version:
    """A record of the history, and the record before it of the same organization."""

    before: Any
    record: Any


def read_records(scope: Scope, before: int, size: int) -> Iterator[Row]:
    """Yield the newest records with a key below `before`, or of all if `before` is 0.

    Runs one query, and one that checks access to archived organizations. Does not load
    the authors.
    """
    versions = read_versions(scope, before, size)
    scope.gate.learn({version.record.id for version in versions})
    for version in versions:
        entry = make_entry_of_version(scope, version)
        yield Row("records", version.record.pk, entry)


def read_versions(scope: Scope, before: int, size: int) -> list[Version]:
    """Return the newest records, each with the record before it. Runs one query."""
    if not scope.sees_all and not scope.own_pks:
        return []
    keys = select_keys(scope, before, size)
    rows = VERSIONS.filter(history_id__in=keys).order_by("history_id")
    versions = []
    latest: dict[int, Any] = {}  # by organization ID
    for record in cut_texts(rows):
        # The rows include the record before each of the newest records.
        versions.append(Version(latest.get(record.id), record))
        latest[record.id] = record
    newest_first = reversed(versions)
    return [version for version in newest_first if is_listed(scope, version)][:size]


def select_keys(scope: Scope, before: int, size: int) -> RawSQL:
    """Return a subquery for the keys of the records that `read_versions()` loads."""
    parameters: list[int] = []
    if scope.sees_all:
        conditions = ["history_change_reason IS NULL"]
    else:
        conditions = [f"id IN ({placeholders(scope.own_pks)})"]
        parameters += scope.own_pks
    if before:
        conditions.append("history_id < %s")
        parameters.append(before)
    statement = NEWEST_AND_EARLIER.format(condition=" AND ".join(conditions))
    return RawSQL(statement, [*parameters, size])


def is_listed(scope: Scope, version: Version) -> bool:
    """Return whether the record of a version meets the condition of `select_keys()`."""
    # People who can view all organizations see one entry for each import instead.
    return not scope.sees_all or version.record.history_change_reason is None


def make_entry_of_version(scope: Scope, version: Version) -> Entry | None:
    """Return the entry about a version, or None if the person can see no change."""
    record = version.record
    permissions = scope.gate.permissions_on(record.id)
    if "view" not in permissions:
        # The organization is archived.
        return None
    if record.history_type == "-" and scope.user.is_superuser:
        # There is an entry from the audit log, even if many were deleted at once.
        return None
    lines = list_changes(version, permissions)
    if not lines:
        return None
    action = None
    if record.history_change_reason in (IMPORT, UNDO):
        action = (record.history_change_reason, record.history_user_key)
    return Entry(
        at=record.history_date,
        text=join_lines(lines),
        organization_key=record.id,
        name=record.name,
        log_entry=make_log_entry(record),
        action=action,
        common_text=_("Changed."),
    )


def list_changes(version: Version, permissions: Collection[str]) -> list[str]:
    if version.record.history_type == "-":
        return [_("Deleted.")]
    return list_visible_changes(
        version.before, version.record, permissions, MAX_VALUE_SHOWN
    )


def make_log_entry(record: Any) -> LogEntry:
    """Return a log entry for a record, so that the rules about names apply to it.

    Does not load the author.
    """
    log_entry = LogEntry(
        action_time=record.history_date, user_id=record.history_user_id
    )
    if record.history_user_id is None:
        log_entry.user = find_author(record) or find_stand_in(record)
    log_entry.is_import = record.history_change_reason == IMPORT  # type: ignore[attr-defined]
    return log_entry


def find_stand_in(record: Any) -> User:
    """Return a stand-in for the author of a record without a known author."""
    if record.history_type == "-":
        return User(username=_("unknown"))
    return make_stand_in(record)


def join_lines(lines: Sequence[str]) -> str:
    """Return one line about the first few changed fields."""
    shown = " ".join(lines[:MAX_FIELDS_SHOWN]).replace("\n", " ")
    more = len(lines) - MAX_FIELDS_SHOWN
    if more <= 0:
        return shown
    rest = ngettext("and %d more field", "and %d more fields", more)
    return f"{shown} … {rest % more}"
