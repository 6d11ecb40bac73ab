"""The entries of activity, and how those that are one action become one entry."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.admin.models import LogEntry

from orgadmin.access.origin import IMPORT, UNDO

# What one action did to several organizations is one entry, if it took no longer.
AT_ONCE = datetime.timedelta(minutes=1)

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)


@dataclass(frozen=True)
class Entry:
    """Something that happened, not yet as the person may see it."""

    at: datetime.datetime
    text: str
    # What it is about. The name remains when the object was deleted.
    organization_key: int | None = None
    name: str = ""
    # A contact, a person or another object that it is about, as (model, key).
    other: tuple[type, int] | None = None
    other_name: str = ""
    # Who did it, if there is no log entry: the key, or None, and the name, or "".
    author_key: int | None = None
    author_name: str = ""
    source: str = ""  # as in `MembershipEvent`
    # The rules about names and details apply to this.
    log_entry: LogEntry | None = None
    # Entries that have this in common are parts of one action.
    action: tuple[Any, ...] | None = None
    # The text of an action whose parts have different texts.
    common_text: str = ""
    # Whether the person may know that the organization is archived.
    tells_archived: bool = False
    # Of how many organizations and people it is about.
    organizations: int = 1
    people: int = 1
    # Whether the action has more parts than these.
    has_more: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a log. `entry` is None if the person may see nothing of it.

    `key` is where the next rows begin: those that have a lower one.
    """

    log: str
    key: int
    entry: Entry | None


def is_one_action(newer: Entry, older: Entry) -> bool:
    if newer.action is None or newer.action != older.action:
        return False
    return newer.at - older.at <= AT_ONCE


def join(parts: Sequence[Entry]) -> Entry:
    """Return the entry for one action from its parts, of which the newest is first."""
    newest = parts[0]
    if len(parts) == 1:
        return newest
    texts = {part.text for part in parts}
    has_same_text = len(texts) == 1 and not is_import(newest)
    return replace(
        newest,
        text=newest.text if has_same_text else newest.common_text,
        organizations=len({part.organization_key for part in parts}),
        people=len({part.other_name for part in parts}),
    )


def is_import(entry: Entry) -> bool:
    """Return whether an entry is about an import or its undo.

    The text of such an entry is about one field.
    """
    return entry.action is not None and entry.action[0] in (IMPORT, UNDO)


def make_key(at: datetime.datetime) -> int:
    """Return the key of a row that is sorted by its time: the microseconds of it."""
    return (at - EPOCH) // MICROSECOND


def read_key(key: int) -> datetime.datetime:
    """Return the time that `make_key()` described, or the latest one there is."""
    try:
        return EPOCH + key * MICROSECOND
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)
