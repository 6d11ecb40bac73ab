"""The entries of activity, and how those that are one action become one entry."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from django.contrib.admin.models import LogEntry

from orgadmin.access.origin import IMPORT, UNDO

# What one action did to several organizations is one entry, if it took no longer.
AT_ONCE = datetime.timedelta(minutes=1)

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)

# What an entry is about: the name of a person or "", and the key of an organization.
Subject: TypeAlias = tuple[str, int | None]


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
    # The parts of an action that have been joined.
    subjects: frozenset[Subject] = frozenset()

    @property
    def subject(self) -> Subject:
        return (self.other_name, self.organization_key)


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


def add_to_action(newer: Entry, older: Entry) -> Entry:
    """Return the entry of an action to which an older part belongs, too."""
    subjects = newer.subjects | {newer.subject, older.subject}
    has_same_text = newer.text == older.text and not is_import(newer)
    return replace(
        newer,
        text=newer.text if has_same_text else newer.common_text,
        subjects=subjects,
        organizations=len({organization for _name, organization in subjects}),
        people=len({name for name, _organization in subjects}),
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
