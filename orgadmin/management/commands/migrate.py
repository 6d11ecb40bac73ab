"""Run migrations, and try again if other transactions were in the way."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# Migrations of libraries contain operations that cause this warning. They are safe,
# because the tables are still empty at that point. tests/test_migration_rules.py checks
# our own migrations.
warnings.filterwarnings("ignore", ".*is unsafe operation")

# The wait after each attempt is a second longer than the previous wait. Together, the
# waits take seven minutes, which is longer than most vacuums.
ATTEMPTS = 30

# The reasons to try again, by the SQLSTATE of PostgreSQL's error.
REASONS_BY_SQLSTATE = {
    "55P03": "a lock was not free",
    "57014": "a statement took too long",
    "40P01": "there was a deadlock",
}


class Command(migrate.Command):
    def handle(self, *args, **options):
        """Run migrations, in up to ATTEMPTS attempts.

        Statements do not wait long for a lock, because other transactions would have to
        wait behind them. Each attempt skips what an earlier attempt has done.
        """
        with keep_sequences(connections[options["database"]]):
            return self._try_repeatedly(*args, **options)

    def _try_repeatedly(self, *args, **options):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return super().handle(*args, **options)
            except OperationalError as error:
                reason = find_reason(error)
                if reason is None or attempt == ATTEMPTS:
                    raise
                self.stdout.write(
                    f"\n  Attempt {attempt} of {ATTEMPTS} failed because {reason}."
                    " Trying again."
                )
                # Close the connection to get rid of the timeouts that were set on it.
                connections[options["database"]].close()
                time.sleep(attempt)


@contextmanager
def keep_sequences(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Restore SQLite's sequences after the block, so that no key is used twice.

    On SQLite, many migrations copy a table. The sequence of the copy would continue
    after the highest existing key, and use keys of deleted rows again.
    """
    if connection.vendor != "sqlite":
        yield
        return
    before = read_sequences(connection)
    try:
        yield
    finally:
        statement = "UPDATE sqlite_sequence SET seq = %s WHERE name = %s AND seq < %s"
        with connection.cursor() as cursor:
            for table, key in before.items():
                cursor.execute(statement, [key, table, key])


def read_sequences(connection: BaseDatabaseWrapper) -> dict[str, int]:
    """Return {table: the last key that SQLite has used}."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
        if cursor.fetchone() is None:
            return {}
        cursor.execute("SELECT name, seq FROM sqlite_sequence")
        return dict(cursor.fetchall())


def find_reason(error: OperationalError) -> str | None:
    """Return the reason to try again after an error, or None if this cannot help."""
    return REASONS_BY_SQLSTATE.get(getattr(error.__cause__, "sqlstate", None))
