"""Activity: what happened to organizations, contacts and people, in one list.

The list merges the entries of several logs, newest first. A module for each log decides
what a person can see:

- `field_changes.py`: the field history
- `log_entries.py`: the log of Django's admin
- `membership_events.py`: the membership log
- `audit_events.py`: the audit log
- `own.py`: what org admins can see instead of the audit log

Each log is read through an index, and only as far as the list needs. The list follows
the rules of the history page and of the logs. People who can view all organizations see
activity in all of them, and other people in the organizations that they can view.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from heapq import merge
from operator import attrgetter
from typing import TypeAlias

from orgadmin.models.validators import is_primary_key
from orgadmin.records.feed.audit_events import read_audit_events
from orgadmin.records.feed.entries import Entry, Row, is_one_action, join_parts
from orgadmin.records.feed.field_changes import read_records
from orgadmin.records.feed.log_entries import read_log_entries
from orgadmin.records.feed.membership_events import read_events
from orgadmin.records.feed.newest import Newest
from orgadmin.records.feed.own import read_requests, read_reviews
from orgadmin.records.feed.scope import Scope

# The number of entries on the home page, and on a page of the whole list
MAX_ENTRIES_ON_HOME = 12
ENTRIES_PER_PAGE = 50

# The number of rows of a log that are read first. Most of them become an entry. Later
# batches are larger.
FIRST_BATCH = MAX_ENTRIES_ON_HOME + 4
BATCH = 40
MAX_BATCH = 320

# The maximum number of rows on a page. If the last entry has more rows, the page says
# that there are more.
MAX_ROWS = 100

# A function that returns the rows of a log. Its arguments are the key before which the
# rows begin, and the maximum number of rows. It may return an iterator, because a page
# shows only a few rows of each log.
ReadLog: TypeAlias = Callable[[int, int], Iterable[Row]]


@dataclass(frozen=True)
class VisibleRow:
    log: str
    key: int
    entry: Entry

    @property
    def at(self) -> datetime.datetime:
        return self.entry.at


@dataclass(frozen=True)
class Mark:
    """The time of the newest row of a log that has not been read."""

    at: datetime.datetime


Rows: TypeAlias = Iterator[VisibleRow | Mark]


@dataclass(frozen=True)
class Position:
    """Where a page begins in each log: after the row with this key.

    0 is the beginning of the log. The names of the logs are as in `Row`.
    """

    records: int = 0
    log_entries: int = 0
    events: int = 0
    audit: int = 0
    # These two logs are sorted by time, so their keys are times, as in `make_key()`.
    requests: int = 0
    reviews: int = 0

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that `str()` has written.

        Returns the beginning if the text is invalid.
        """
        keys = text.split("-")
        is_valid = all(key == "0" or is_primary_key(key) for key in keys)
        if len(keys) != len(fields(cls)) or not is_valid:
            return cls()
        return cls(*(int(key) for key in keys))

    def __str__(self) -> str:
        return "-".join(str(key) for key in astuple(self))


BEGINNING = Position()


@dataclass(frozen=True)
class Page:
    """Entries, newest first. `older` is where the next page begins, or None."""

    entries: list[Entry]
    older: Position | None


def read_page(
    scope: Scope,
    position: Position = BEGINNING,
    size: int = MAX_ENTRIES_ON_HOME,
    newest: Newest | None = None,
) -> Page:
    """Return the newest entries after a position, at most `size`.

    Each log is read in batches, and only as far as the page needs. `newest` contains
    the times of the newest rows of some logs, if they are known. Logs without recent
    rows are then not read.
    """
    rows = merge_logs(scope, position, newest)
    actions: list[list[Entry]] = []  # the parts of each entry
    for number, row in enumerate(rows):
        is_same = bool(actions) and is_one_action(actions[-1][0], row.entry)
        is_full = len(actions) == size and not is_same
        if is_full or number == MAX_ROWS:
            entries = [join_parts(parts) for parts in actions]
            entries[-1] = replace(entries[-1], has_more=is_same)
            return Page(entries, position)
        if is_same:
            actions[-1].append(row.entry)
        else:
            actions.append([row.entry])
        position = replace(position, **{row.log: row.key})
    return Page([join_parts(parts) for parts in actions], None)


def merge_logs(
    scope: Scope, position: Position, newest: Newest | None
) -> Iterator[VisibleRow]:
    """Yield the rows of all logs after a position, newest first."""
    log_entries = read_rows(partial(read_log_entries, scope), position.log_entries)
    requests = read_rows(partial(read_requests, scope), position.requests)
    reviews = read_rows(partial(read_reviews, scope), position.reviews)
    if newest is not None:
        log_entries = postpone_reading(newest.log_entries, log_entries)
        requests = postpone_reading(newest.requests, requests)
        reviews = postpone_reading(newest.reviews, reviews)
    rows = merge(
        read_rows(partial(read_records, scope), position.records),
        log_entries,
        read_rows(partial(read_events, scope), position.events),
        read_rows(partial(read_audit_events, scope.gate), position.audit),
        requests,
        reviews,
        key=attrgetter("at"),
        reverse=True,
    )
    return (row for row in rows if isinstance(row, VisibleRow))


def read_rows(read: ReadLog, before: int) -> Rows:
    """Yield the rows of a log that have an entry, and a key below `before`.

    If `before` is 0, begins with the newest row. The batches grow, because a log may
    have many rows that the person cannot see.
    """
    size = FIRST_BATCH
    while True:
        number_of_rows = 0
        for row in read(before, size):
            number_of_rows += 1
            before = row.key
            if row.entry is not None:
                yield VisibleRow(row.log, row.key, row.entry)
        if number_of_rows < size:
            return
        size = min(max(2 * size, BATCH), MAX_BATCH)


def postpone_reading(newest: datetime.datetime | None, rows: Rows) -> Rows:
    """Yield a mark with the time of a log's newest row, and then the rows of this log.

    When several logs are merged, this log is not read before the merge has reached the
    time of the mark. If `newest` is None, the log has no rows, and is never read.
    """
    if newest is not None:
        yield Mark(newest)
        yield from rows
