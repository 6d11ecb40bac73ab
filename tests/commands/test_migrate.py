import io
from unittest import mock, skipUnless

from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import TransactionTestCase

TABLE = "orgadmin_organization"
SLEEP = "orgadmin.management.commands.migrate.time.sleep"


@skipUnless(connection.vendor == "postgresql", "SQLite waits by itself")
class GivesWayTests(TransactionTestCase):
    """Somebody reads the table of organizations in a long transaction, while a column is added."""

    def setUp(self):
        self.addCleanup(call_command, "migrate", "orgadmin", verbosity=0)
        call_command("migrate", "orgadmin", "0017", verbosity=0)
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
        self.assertEqual(
            sleep.call_args_list, [mock.call(1), mock.call(2)]
        )  # each longer, to outlast a vacuum
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            self.assertEqual(
                cursor.fetchone()[0], "0"
            )  # what a step sets ends with it, also where it gives way
        self.assertIn(
            "Gave way, as a lock was not free (2 of 30). Trying again.", out.getvalue()
        )

    def test_gives_up_at_last_and_changes_nothing(self):
        with mock.patch(SLEEP) as sleep, self.assertRaises(OperationalError):
            with mock.patch("orgadmin.management.commands.migrate.PATIENCE", 3):
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
