"""Reading from a replica: when it is up to date, and what happens when it fails.

With DATABASE_REPLICA_URL, there is a second database, "replica": a standby of the
primary. A request may read it if it has replayed everything that the primary had
committed when the request asked. So the request sees what it would see on the primary,
also whether the person still has access: docs/replica.md explains why. In all other
cases, the request reads the primary.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections

from orgadmin.access import reasons

REPLICA = "replica"

# How long a request waits for the replica to replay what the primary has committed, and
# how long it sleeps before it asks again. Usually, a replica needs a few milliseconds.
LONGEST_WAIT = 0.05  # seconds
POLL = 0.005  # seconds

# After a wait in vain, requests still ask the replica, but do not wait for it.
NO_WAIT_FOR = 1  # seconds

# After a failure, nobody asks the replica for a while. Then, one request tries.
PAUSE = 10  # seconds

# If the replica is behind for longer, it is reported.
LONGEST_LAG = 10  # seconds

# What a request always reads from the primary, also while it makes a page from the
# replica: it may have written this itself.
APPS_ON_PRIMARY = frozenset({"account", "mfa", "sessions", "socialaccount"})


class Choice(StrEnum):
    """Whether a request reads the replica, or why it reads the primary.

    A metric has these texts, so they never change.
    """

    REPLICA = "replica"
    BEHIND = "behind"
    DOWN = "down"


class ReplicaProblem(Exception):
    """The replica answers, but is of no use."""


class WrongServer(ReplicaProblem):
    """The server is not a standby of the primary."""

    def __init__(self) -> None:
        super().__init__(
            "It is not a standby of the primary, or it has replayed no checkpoint since"
            " a standby was promoted."
        )


# What the servers say about themselves


@dataclass(frozen=True)
class ServerState:
    """How far a server is. `position` is in the write-ahead log, in bytes."""

    is_standby: bool
    system: int
    timeline: int
    position: int
    clock: datetime


# A commit is visible on the primary only once it was flushed to disk, so all commits
# that anybody can see are before this position. Without `synchronous_commit`, that is
# not so: then, they are before the end of the log.
#
# The timeline is part of the name of the file that the primary writes. The control file
# has it as well, but only some time after a standby was promoted.
STATE_OF_PRIMARY = """
    SELECT
        pg_is_in_recovery(),
        system.system_identifier,
        ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint,
        CASE current_setting('synchronous_commit')
            WHEN 'off' THEN pg_current_wal_insert_lsn()
            ELSE pg_current_wal_flush_lsn()
        END - '0/0'::pg_lsn,
        clock_timestamp()
    FROM pg_control_system() system
"""

# The control file of a standby names the timeline of the last checkpoint that it has
# replayed. For some time after a promotion, it is the previous one.
STATE_OF_REPLICA = """
    SELECT
        pg_is_in_recovery(),
        system.system_identifier,
        checkpoint.timeline_id,
        COALESCE(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0),
        clock_timestamp()
    FROM pg_control_system() system, pg_control_checkpoint() checkpoint
"""


def get_connection() -> Any:
    """Return the connection to the replica: see replica_backend/base.py."""
    return connections[REPLICA]


def read_state_of_primary() -> ServerState:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(STATE_OF_PRIMARY)
        return make_state(cursor.fetchone())


def read_state_of_replica() -> ServerState:
    with get_connection().open_cursor() as cursor:
        cursor.execute(STATE_OF_REPLICA)
        return make_state(cursor.fetchone())


def make_state(row: tuple[Any, ...]) -> ServerState:
    is_standby, system, timeline, position, clock = row
    return ServerState(is_standby, system, timeline, int(position), clock)


def follows(replica: ServerState, primary: ServerState) -> bool:
    """Return whether one server is a standby of the other, and not of another one.

    After a promotion, there are standbys of the previous primary. They may be further
    in the log, but do not know what was committed since then.
    """
    return (
        replica.is_standby
        and replica.system == primary.system
        and replica.timeline == primary.timeline
    )


def has_reached(replica: ServerState, primary: ServerState) -> bool:
    """Return whether the replica has everything that the primary had.

    Access can also end at a time, by the clock of the database that is asked. So the
    clock of the replica must not be before that of the primary, either.
    """
    return (
        follows(replica, primary)
        and replica.position >= primary.position
        and replica.clock >= primary.clock
    )


# Whether to read the replica


class ReplicaWatch:
    """Remembers, for a process, when to ask the replica, and when to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._paused_until = 0.0
        self._no_wait_until = 0.0
        self._behind_since: float | None = None

    def choose(self) -> Choice:
        """Return which server a request should read that begins now."""
        if not self._may_ask():
            return Choice.DOWN
        try:
            primary = read_state_of_primary()
        except Error:
            # The request will notice by itself if the primary does not answer.
            return Choice.DOWN
        try:
            is_reached = self._wait_for(primary)
        except WrongServer as error:
            self.note_failure(error)
            return Choice.DOWN
        except Error as error:
            get_connection().abandon()
            self.note_failure(error)
            return Choice.DOWN
        if is_reached:
            self._behind_since = None
            return Choice.REPLICA
        self._note_lag()
        return Choice.BEHIND

    def note_failure(self, error: BaseException) -> None:
        """Leave the replica out for a while, and say why in the log."""
        self._paused_until = time.monotonic() + PAUSE
        reasons.report("replica", error)

    def _may_ask(self) -> bool:
        """Return whether to ask the replica. After a failure, one request tries."""
        now = time.monotonic()
        with self._lock:
            if now < self._paused_until:
                return False
            if self._paused_until:
                self._paused_until = now + PAUSE
        return True

    def _wait_for(self, primary: ServerState) -> bool:
        """Wait until the replica is as far as the primary was. Returns whether it is.

        Raises `WrongServer`, or the error of the database.
        """
        started = time.monotonic()
        may_wait = started >= self._no_wait_until
        while True:
            replica = read_state_of_replica()
            if not follows(replica, primary):
                raise WrongServer
            self._paused_until = 0.0
            if has_reached(replica, primary):
                return True
            if not may_wait or time.monotonic() - started > LONGEST_WAIT:
                return False
            time.sleep(POLL)

    def _note_lag(self) -> None:
        now = time.monotonic()
        if now >= self._no_wait_until:
            self._no_wait_until = now + NO_WAIT_FOR
        if self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > LONGEST_LAG:
            seconds = now - self._behind_since
            text = f"It has been behind the primary for {seconds:.0f} seconds."
            reasons.report("replica", ReplicaProblem(text))


watch = ReplicaWatch()


def report(error: BaseException) -> None:
    """Say in the log that a statement failed on the replica, once a minute."""
    reasons.report("replica", error)


# The choice of a request


class Reading:
    """A request that reads the replica. If it is over, it reads the primary instead."""

    def __init__(self) -> None:
        self.is_over = False


current_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading_replica(reading: Reading) -> Iterator[None]:
    """Read the replica in this thread for the duration of the context."""
    token = current_reading.set(reading)
    try:
        yield
    finally:
        current_reading.reset(token)


def has_replica() -> bool:
    return REPLICA in settings.DATABASES


class ReplicaRouter:
    """Sends what is read to the replica if the request may read it."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        if current_reading.get() is None:
            return DEFAULT_DB_ALIAS
        # What a transaction has written so far is only on the primary.
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            return DEFAULT_DB_ALIAS
        if model._meta.app_label in APPS_ON_PRIMARY:
            return DEFAULT_DB_ALIAS
        return REPLICA

    def db_for_write(self, model: Any, **hints: Any) -> str:
        # Without this, Django would write an object to where it was read from.
        return DEFAULT_DB_ALIAS

    def allow_relation(self, *objects: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db != REPLICA
