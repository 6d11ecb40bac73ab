"""Connections to the replica. If the replica fails, they read the primary instead.

A request waits at most 0.5 s for a connection, and 1 s for a response to a statement.
Then the same statement runs on the primary.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    connections,
)
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg.pq import TransactionStatus

from orgadmin.access import replica

# The replica cancels a statement after this time.
STATEMENT_TIMEOUT = 900  # milliseconds

# The connection is closed if the replica does not respond within this time.
LONGEST_SILENCE = 1.0  # seconds

OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT} -c default_transaction_read_only=on"
)

# Background threads of the pool open connections, so that requests do not have to wait
# for this: the driver's minimum for CONNECT_TIMEOUT is two seconds.
POOL = {
    "min_size": 0,
    "max_size": 16,
    "timeout": 0.5,  # seconds that a request waits for a connection
    "reconnect_timeout": 5,
    "max_idle": 60,
}
CONNECT_TIMEOUT = 2  # seconds

# Errors that are caused by the replica, not by the statement.
FAILURES = (OperationalError, InterfaceError)


class ImpatientConnection(psycopg.Connection):
    """A connection that gives up if the server does not answer in time.

    PostgreSQL's own timeouts do not help if the server itself has stopped responding.
    """

    def wait(
        self, gen: Any, interval: float = 0.1, timeout: float | None = None
    ) -> Any:
        if timeout is None:
            timeout = LONGEST_SILENCE
        return super().wait(gen, interval, timeout=timeout)


class ReplicaCursor(CursorWrapper):
    """Runs a statement on the primary if the replica fails."""

    def _execute(self, sql: str, params: Any, *rest: Any) -> Any:
        try:
            return super()._execute(sql, params, *rest)  # type: ignore[misc]
        except FAILURES as error:
            reading = replica.current_reading.get()
            if reading is None:
                # The statement does not belong to a page. It asks about the replica's
                # state.
                raise
            reading.is_over = True
            self.db.note_failure(error)
        self.cursor.close()
        on_primary = connections[DEFAULT_DB_ALIAS].cursor()
        self.cursor = on_primary.cursor
        return on_primary.execute(sql, params)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's PostgreSQL backend, with read-only connections to the replica.

    `cursor()` returns cursors on the primary unless the request reads the replica.
    """

    def __init__(self, settings_dict: dict[str, Any], alias: str) -> None:
        given = settings_dict["OPTIONS"]
        options = {
            "connect_timeout": CONNECT_TIMEOUT,
            **given,
            "options": f"{given.get('options', '')} {OPTIONS}".strip(),
            "pool": {**POOL, "connection_class": ImpatientConnection},
        }
        super().__init__({**settings_dict, "OPTIONS": options}, alias)

    def cursor(self) -> CursorWrapper:
        """Return a cursor on the replica if the current request reads the replica.

        Otherwise, returns a cursor on the primary, so that no code reads the replica
        without having checked that it is up to date.
        """
        reading = replica.current_reading.get()
        if reading is None or reading.is_over:
            return connections[DEFAULT_DB_ALIAS].cursor()
        try:
            return self.open_cursor()
        except FAILURES as error:
            reading.is_over = True
            self.note_failure(error)
        return connections[DEFAULT_DB_ALIAS].cursor()

    def open_cursor(self) -> CursorWrapper:
        """Return a cursor on the replica, to read its state."""
        return super().cursor()

    def chunked_cursor(self) -> CursorWrapper:
        # Loads all rows at once, so that no error can occur while they are read.
        return self.cursor()

    def make_cursor(self, cursor: Any) -> CursorWrapper:
        return ReplicaCursor(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> Any:
        return ReplicaCursor(cursor, self)

    def note_failure(self, error: Exception) -> None:
        """Log an error. If the connection is lost, stop using the replica for PAUSE."""
        if self.is_lost():
            self.abandon()
            replica.watch.note_failure(error)
        else:
            replica.report(error)

    def is_lost(self) -> bool:
        """Return whether the connection is closed, or cannot be used again."""
        if self.connection is None or self.connection.closed:
            return True
        return self.connection.info.transaction_status != TransactionStatus.IDLE

    def abandon(self) -> None:
        """Close the connections to the replica. They are reopened when needed."""
        self.close()
        self.pool.drain()

    def _set_autocommit(self, autocommit: bool) -> None:
        if not autocommit:
            raise NotSupportedError("Transactions begin on the primary.")
        super()._set_autocommit(autocommit)  # type: ignore[misc]
