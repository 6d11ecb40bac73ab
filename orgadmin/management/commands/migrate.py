"""Run migrations, and try again if a statement gave way to other transactions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# The migrations of libraries contain operations that cause this warning, but their
# tables are still empty then. tests/test_migration_rules.py checks our own migrations.
warnings.filterwarnings("ignore", ".*is unsafe operation")

# Each wait is a second longer than the previous one. Together, the waits take seven
# minutes, which is longer than most vacuums.
ATTEMPTS = 30

# The reasons for which a statement can give way, by PostgreSQL's SQLSTATE.
REASONS = {
    "55P03": "a lock was not free",
    "57014": "a statement took too long",
    "40P01": "there was a deadlock",
}


class Command(migrate.Command):
    def handle(self, *args, **options):
        """Run migrations, in up to ATTEMPTS attempts.

        No statement waits long for a lock, because all later statements would have to
        wait, too. Each attempt skips what an earlier attempt has done.
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
                    f"\n  Gave way because {reason} ({attempt} of {ATTEMPTS})."
                    " Trying again."
                )
                # A new connection does not have the timeouts that were set on this one.
                connections[options["database"]].close()
                time.sleep(attempt)


@contextmanager
def keep_sequences(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Have SQLite's sequences continue after the keys that they have issued.

    On SQLite, many migrations copy a table. The copy would continue after the highest
    key that is left, and issue those of deleted rows again.
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
    """Return {table: the last key that SQLite has issued}."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
        if cursor.fetchone() is None:
            return {}
        cursor.execute("SELECT name, seq FROM sqlite_sequence")
        return dict(cursor.fetchall())


def find_reason(error: OperationalError) -> str | None:
    """Return why a statement gave way, or None if it failed for another reason."""
    return REASONS.get(getattr(error.__cause__, "sqlstate", None))
