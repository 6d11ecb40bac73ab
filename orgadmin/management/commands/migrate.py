"""Migrate, and give way to whoever is at work."""

import time

from django.core.management.commands import migrate
from django.db import OperationalError, connections

PATIENCE = 30  # attempts, a second apart
BUSY = {"55P03": "a lock was not free", "57014": "a statement took too long", "40P01": "a deadlock"}  # SQLSTATE


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
