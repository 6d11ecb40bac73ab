import io
from unittest import mock, skipUnless

from django.core.management import call_command
from django.db import OperationalError, connection

from tests.migration_case import MigrationCase

TABLE = "orgadmin_organization"
SLEEP = "orgadmin.management.commands.migrate.time.sleep"


@skipUnless(connection.vendor == "postgresql", "SQLite itself waits for locks")
class GivesWayTests(MigrationCase):
    """A column is added while a long transaction reads the table of organizations."""

    step = "0017"

    def setUp(self):
        super().setUp()
        self.reader = connection.copy()
        self.addCleanup(self.reader.close)
        self.reader.set_autocommit(False)
        self.reader.cursor().execute(f"SELECT count(*) FROM {TABLE}")

    def test_tries_again_until_the_lock_is_free(self):
        out = io.StringIO()
        with mock.patch(SLEEP) as sleep:
            sleep.side_effect = lambda seconds: (
                self.reader.rollback() if sleep.call_count == 2 else None
            )
            call_command("migrate", "orgadmin", "0018", stdout=out)
        # Each wait is longer than the one before, to outlast a vacuum.
        self.assertEqual(sleep.call_args_list, [mock.call(1), mock.call(2)])
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            [lock_timeout] = cursor.fetchone()
        # What a step sets ends with the step, even if that gives way.
        self.assertEqual(lock_timeout, "0")
        self.assertIn(
            "Attempt 2 of 30 failed because a lock was not free. Trying again.",
            out.getvalue(),
        )

    def test_gives_up_after_the_last_attempt_and_changes_nothing(self):
        with mock.patch(SLEEP) as sleep, self.assertRaises(OperationalError):
            with mock.patch("orgadmin.management.commands.migrate.ATTEMPTS", 3):
                call_command("migrate", "orgadmin", "0018", verbosity=0)
        self.assertEqual(sleep.call_count, 2)
        self.reader.rollback()
        with connection.cursor() as cursor:
            columns = [
                column.name
                for column in connection.introspection.get_table_description(
                    cursor, TABLE
                )
            ]
        self.assertNotIn("search_text", columns)
