"""Migrate, and give way to whoever is at work."""

import time
import warnings
from contextlib import suppress

from django.core.management.commands import migrate
from django.db import OperationalError, connections, transaction

warnings.filterwarnings("ignore", ".*is unsafe operation")  # in libraries, where tables are empty; ours are tested
PATIENCE = 30  # attempts, a second apart
BUSY = {"55P03": "a lock was not free", "57014": "a statement took too long", "40P01": "a deadlock"}  # SQLSTATE
VACUUMED = """
SELECT DISTINCT relation::regclass FROM pg_locks JOIN pg_class ON relation = pg_class.oid AND relkind = 'r'
JOIN pg_database d ON database = d.oid AND datname = current_database() WHERE mode = 'ShareUpdateExclusiveLock'
"""


class Command(migrate.Command):
    def handle(self, *args, **options):
        """Begin again where a statement gave way to others: what is done is left out, and nobody waits for us long."""
        for attempt in range(1, PATIENCE + 1):
            try:
                return super().handle(*args, **options)
            except OperationalError as error:
                reason = BUSY.get(getattr(error.__cause__, "sqlstate", None))
                if reason is None or attempt == PATIENCE:
                    raise
                self.stdout.write(f"\n  Gave way, as {reason} ({attempt} of {PATIENCE}). Trying again.")
                connections[options["database"]].close()  # with the time-outs that were set
                time.sleep(1)
                self._outlast_vacuum(connections[options["database"]])

    def _outlast_vacuum(self, connection):
        """Wait for the lock that a vacuum has, which holds up nobody else: autovacuum ends for who waits a second."""
        with connection.cursor() as cursor:
            cursor.execute(VACUUMED)
            for (table,) in cursor.fetchall():
                with suppress(OperationalError), transaction.atomic(using=connection.alias):
                    cursor.execute("SET LOCAL lock_timeout = '3s'")
                    cursor.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
