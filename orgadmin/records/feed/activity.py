"""Activity: what happened to organizations, contacts and people, in one list.

It joins the entries of several logs, newest first. Each log has a module of its own,
which says what a person reads of it: the history of fields, the log of Django's admin,
the membership log, the audit log, and what org admins read instead of the audit log.
Each is read by an index, and no further than the list needs. What a person may see
follows the rules of the history page and of these logs. Platform staff read about
everything, and other people about their own organizations.
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
from orgadmin.records.feed.entries import Entry, Row, is_one_action, join
from orgadmin.records.feed.field_changes import read_records
from orgadmin.records.feed.log_entries import read_log_entries
from orgadmin.records.feed.membership_events import read_events
from orgadmin.records.feed.newest import Newest
from orgadmin.records.feed.own import read_requests, read_reviews
from orgadmin.records.feed.scope import Scope

# How many entries the list has on the home page, and a page of the whole list.
SHOWN = 12
PAGE = 50

# How many rows of a log are read first: most of them become an entry. After that, the
# batches grow.
FIRST_BATCH = SHOWN + 4
BATCH = 40
MAX_BATCH = 320

# How many rows a page may join, at most. Of an action with more, it says so.
MAX_ROWS = 100

# Returns the rows of a log after a key, so many at most. Each row is worked out when it
# is taken, because a page shows few rows of a log.
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
    """Where a page begins: in each log, after the row with this key, or with the first.

    The names are those of the logs in `Row`.
    """

    records: int = 0
    log_entries: int = 0
    events: int = 0
    audit: int = 0
    # Of these two logs, it is the time.
    requests: int = 0
    reviews: int = 0

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that `str()` described, or else the beginning."""
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
    size: int = SHOWN,
    newest: Newest | None = None,
) -> Page:
    """Return the newest entries after a position, `size` at most.

    Each log is read in batches, and no further than the page needs. `newest` says when
    something last happened to the organizations of the scope, if that is known.
    """
    rows = merge_logs(scope, position, newest)
    actions: list[list[Entry]] = []  # the parts of each entry
    for number, row in enumerate(rows):
        is_same = bool(actions) and is_one_action(actions[-1][0], row.entry)
        is_full = len(actions) == size and not is_same
        if is_full or number == MAX_ROWS:
            entries = [join(parts) for parts in actions]
            entries[-1] = replace(entries[-1], has_more=is_same)
            return Page(entries, position)
        if is_same:
            actions[-1].append(row.entry)
        else:
            actions.append([row.entry])
        position = replace(position, **{row.log: row.key})
    return Page([join(parts) for parts in actions], None)


def merge_logs(
    scope: Scope, position: Position, newest: Newest | None
) -> Iterator[VisibleRow]:
    """Yield the rows of all logs after a position, the newest first."""
    log_entries = read_on(partial(read_log_entries, scope), position.log_entries)
    requests = read_on(partial(read_requests, scope), position.requests)
    reviews = read_on(partial(read_reviews, scope), position.reviews)
    if newest is not None:
        log_entries = wait_for(newest.log_entries, log_entries)
        requests = wait_for(newest.requests, requests)
        reviews = wait_for(newest.reviews, reviews)
    rows = merge(
        read_on(partial(read_records, scope), position.records),
        log_entries,
        read_on(partial(read_events, scope), position.events),
        read_on(partial(read_audit_events, scope.gate), position.audit),
        requests,
        reviews,
        key=attrgetter("at"),
        reverse=True,
    )
    return (row for row in rows if isinstance(row, VisibleRow))


def read_on(read: ReadLog, before: int) -> Rows:
    """Yield the rows of a log that have an entry, from the key `before` on, or all.

    Batches grow, because a log may have many rows of which the person may see nothing.
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


def wait_for(newest: datetime.datetime | None, rows: Rows) -> Rows:
    """Yield a mark with the time of the newest row of a log, and then its rows.

    Whoever merges several logs does not read this one until the others have got to that
    time. Without a newest row, the log has none.
    """
    if newest is not None:
        yield Mark(newest)
        yield from rows
