"""Tests of migrations, on databases of their own."""

from __future__ import annotations

from django.test import TransactionTestCase

from tests.migrating import migrate
from tests.scratch import scratch_database


class MigrationCase(TransactionTestCase):
    """Gives each test a database that is migrated up to `step`, or to the latest.

    To begin with the latest step, and to return to it afterwards, takes seconds. A test
    of an early step begins with that step.
    """

    step: str | None = None

    def setUp(self) -> None:
        is_migrated = self.step is None
        scratch = self.enterContext(scratch_database(is_migrated=is_migrated))
        self.enterContext(scratch.connected())
        if not is_migrated:
            migrate(self.step)
