"""Migrate, and try again if that had to give way to other transactions."""

from __future__ import annotations

import time
import warnings

from django.core.management.commands import migrate
from django.db import OperationalError, connections

# The migrations of libraries contain such operations, on tables that are empty by then.
# tests/test_migration_rules.py checks ours.
warnings.filterwarnings("ignore", ".*is unsafe operation")

# The wait before each attempt is a second longer than the one before it: seven minutes
# altogether, which is longer than most vacuums take.
ATTEMPTS = 30

# Why a statement can give way, by PostgreSQL's SQLSTATE
REASONS = {
    "55P03": "a lock was not free",
    "57014": "a statement took too long",
    "40P01": "there was a deadlock",
}


class Command(migrate.Command):
    def handle(self, *args, **options):
        """Migrate, in as many attempts as it takes.

        No statement waits long for a lock, because everyone else would wait behind it.
        Each attempt skips what an earlier one has done.
        """
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
                # The time-outs that were set end with the connection.
                connections[options["database"]].close()
                time.sleep(attempt)


def find_reason(error: OperationalError) -> str | None:
    """Return why a statement gave way, or None if it failed for another reason."""
    return REASONS.get(getattr(error.__cause__, "sqlstate", None))
