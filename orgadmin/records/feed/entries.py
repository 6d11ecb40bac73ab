"""The entries of activity, and how the parts of one action become one entry."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.admin.models import LogEntry

from orgadmin.access.origin import IMPORT, UNDO

# Parts of one action become one entry if they are not further apart than this.
MAX_TIME_BETWEEN_PARTS = datetime.timedelta(minutes=1)

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)


@dataclass(frozen=True)
class Entry:
    """Something that happened.

    Names in `log_entry` that the person cannot see are not hidden yet.
    """

    at: datetime.datetime
    text: str
    # The organization that the entry is about. The name is used if it was deleted.
    organization_key: int | None = None
    name: str = ""
    # A contact, a person or another object that the entry is about, as (model, key)
    other: tuple[type, int] | None = None
    other_name: str = ""
    # The author, if there is no log entry
    author_key: int | None = None
    author_name: str = ""
    source: str = ""  # as in `MembershipEvent`
    # A log entry, to which the history's rules about names and details apply
    log_entry: LogEntry | None = None
    # Entries with the same value are parts of one action.
    action: tuple[Any, ...] | None = None
    # The text of an action whose parts have different texts
    common_text: str = ""
    # Whether the person can see that the organization is archived
    tells_archived: bool = False
    # The number of organizations and people that the entry is about
    organizations: int = 1
    people: int = 1
    # Whether the action has more parts, which are not on this page
    has_more: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a log. `entry` is None if the person cannot see the row.

    The rows of a log have descending keys.
    """

    log: str
    key: int
    entry: Entry | None


def is_one_action(newer: Entry, older: Entry) -> bool:
    if newer.action is None or newer.action != older.action:
        return False
    return newer.at - older.at <= MAX_TIME_BETWEEN_PARTS


def join_parts(parts: Sequence[Entry]) -> Entry:
    """Combine the parts of one action, newest first, into one entry."""
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

    The text of such a part is about the fields of one organization, so the parts have
    no text in common even if their texts are the same.
    """
    return entry.action is not None and entry.action[0] in (IMPORT, UNDO)


def make_key(at: datetime.datetime) -> int:
    """Return the key of a row that is sorted by time: microseconds since the epoch."""
    return (at - EPOCH) // MICROSECOND


def read_key(key: int) -> datetime.datetime:
    """Return the time of a key that `make_key()` returned.

    If the key is too large, returns the latest possible time.
    """
    try:
        return EPOCH + key * MICROSECOND
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)
