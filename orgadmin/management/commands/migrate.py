"""Migrate, and give way to whoever is at work."""

import time
import warnings

from django.core.management.commands import migrate
from django.db import OperationalError, connections

warnings.filterwarnings(
    "ignore", ".*is unsafe operation"
)  # in libraries, where tables are empty; ours are tested
PATIENCE = 30  # attempts, each a second later than the one before: seven minutes, which outlast most vacuums
BUSY = {
    "55P03": "a lock was not free",
    "57014": "a statement took too long",
    "40P01": "a deadlock",
}  # SQLSTATE


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
                self.stdout.write(
                    f"\n  Gave way, as {reason} ({attempt} of {PATIENCE}). Trying again."
                )
                connections[
                    options["database"]
                ].close()  # with the time-outs that were set
                time.sleep(attempt)
