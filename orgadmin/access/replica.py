"""Reading from a replica: when it is up to date, and what happens when it fails.

With the setting DATABASE_REPLICA_URL, there is a second database, "replica": a standby
of the primary. A request reads the replica only if the replica has replayed everything
that the primary had committed just before the request's view is called. The view
therefore sees every change that was committed before, including changes of the person's
access. Otherwise, the request reads the primary. docs/replica.md explains the details.
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
# how long it sleeps before it asks again. A replica usually needs a few milliseconds.
LONGEST_WAIT = 0.05  # seconds
POLL = 0.005  # seconds

# If the replica was still behind after LONGEST_WAIT, requests keep asking it, but do
# not wait for it during this time.
NO_WAIT_FOR = 1  # seconds

# After the connection to the replica has failed, no request asks the replica during
# this time. Then one request tries it again.
PAUSE = 10  # seconds

# If the replica has been behind for longer, this is reported in the log.
LONGEST_LAG = 10  # seconds

# Requests read the tables of these apps from the primary even if they read everything
# else from the replica, because they may have written to these tables themselves.
APPS_ON_PRIMARY = frozenset({"account", "mfa", "sessions", "socialaccount"})


class Choice(StrEnum):
    """Whether a request reads the replica, or why it reads the primary.

    These texts are labels of a metric, so they must never change.
    """

    REPLICA = "replica"
    BEHIND = "behind"
    DOWN = "down"


class ReplicaProblem(Exception):
    """The replica answers, but cannot be read now. `str()` gives the reason."""


class WrongServer(ReplicaProblem):
    """The server is not a standby of the primary."""

    def __init__(self) -> None:
        super().__init__(
            "It is not a standby of the primary, or it has replayed no checkpoint since"
            " a standby was promoted."
        )


# The state of the servers


@dataclass(frozen=True)
class ServerState:
    """The state of a server.

    `system` is the system identifier, which a standby shares with its primary.
    `timeline` changes when a standby is promoted. `position` is the position in the
    write-ahead log, in bytes.
    """

    is_standby: bool
    system: int
    timeline: int
    position: int
    clock: datetime


# With `synchronous_commit`, a commit becomes visible on the primary only after it was
# flushed to disk, so all visible commits are before the flush position. Without
# `synchronous_commit`, commits can be visible earlier, so the end of the log is used.
#
# The timeline is read from the name of the log file that the primary writes. The
# control file also has the timeline, but only some time after a standby was promoted.
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

# The control file of a standby has the timeline of the last checkpoint that it has
# replayed. For some time after a promotion, this is the previous timeline.
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
    """Return the connection to the replica, which replica_backend/base.py defines."""
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
    """Return whether a server is a standby of this primary, and not of another one.

    After a promotion, standbys of the previous primary may still be running. Their
    position can be higher, but they do not have what the new primary has committed
    since its promotion.
    """
    return (
        replica.is_standby
        and replica.system == primary.system
        and replica.timeline == primary.timeline
    )


def has_reached(replica: ServerState, primary: ServerState) -> bool:
    """Return whether the replica has everything that the primary had in its state.

    Access can end at a given time, by the clock of the server that is queried. The
    replica's clock must therefore not be behind the time that the primary returned.
    """
    return (
        follows(replica, primary)
        and replica.position >= primary.position
        and replica.clock >= primary.clock
    )


# Whether to read the replica


class ReplicaWatch:
    """Decides for one process whether requests ask the replica and wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._paused_until = 0.0
        self._no_wait_until = 0.0
        self._behind_since: float | None = None

    def choose(self) -> Choice:
        """Return which server a request should read now.

        Asks both servers, and waits up to LONGEST_WAIT for the replica.
        """
        if not self._may_ask():
            return Choice.DOWN
        try:
            primary = read_state_of_primary()
        except Error:
            # If the primary does not answer, the request fails with this error later.
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
        """Stop using the replica for PAUSE seconds, and log the error."""
        self._paused_until = time.monotonic() + PAUSE
        reasons.report("replica", error)

    def _may_ask(self) -> bool:
        """Return whether to ask the replica.

        After the pause that follows a failure, only one request asks it. The others
        wait for another pause, or until that request has succeeded.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._paused_until:
                return False
            if self._paused_until:
                self._paused_until = now + PAUSE
        return True

    def _wait_for(self, primary: ServerState) -> bool:
        """Wait for the replica to reach the primary's state. Return whether it did.

        Raises `WrongServer`, or the error of the database driver.
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
        """Store that the replica is behind.

        During the next NO_WAIT_FOR seconds, requests do not wait for it. If it has been
        behind for longer than LONGEST_LAG, this is logged.
        """
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
    """Log that a statement failed on the replica, as `reasons.report()` does."""
    reasons.report("replica", error)


# Which server the current request reads


class Reading:
    """Marks a request that reads the replica. With `is_over`, it reads the primary."""

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
    """Sends read queries to the replica if the current request reads the replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        if current_reading.get() is None:
            return DEFAULT_DB_ALIAS
        # Only the primary has what the transaction has written so far.
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            return DEFAULT_DB_ALIAS
        if model._meta.app_label in APPS_ON_PRIMARY:
            return DEFAULT_DB_ALIAS
        return REPLICA

    def db_for_write(self, model: Any, **hints: Any) -> str:
        # Without this, Django would save objects to the database they were read from.
        return DEFAULT_DB_ALIAS

    def allow_relation(self, *objects: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db != REPLICA
