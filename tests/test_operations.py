"""Data steps of migrations, while someone works in a long transaction.

The step gives way, so that nobody else has to wait.
"""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock, skipUnless

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DataError, connection, transaction

from orgadmin.models import Organization
from orgadmin.operations import transactions
from tests.migrating import migrate
from tests.migration_case import MigrationCase
from tests.releases import EMPTY, FILLED, FILLING, WITHOUT, Release

WAITING = """
    SELECT
    FROM pg_locks
    JOIN pg_stat_activity USING (pid)
    WHERE NOT granted
        AND datname = current_database()
"""
EDIT_PHONE = "UPDATE orgadmin_organization SET phone = '1' WHERE id = %s"

# PostgreSQL looks for a deadlock once, after a second of waiting.
UNTIL_DEADLOCK_IS_FOUND = 1.2  # seconds


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class LongTransactionTests(MigrationCase):
    """A transaction holds something that the data step wants; another edits a row."""

    step = EMPTY

    def setUp(self):
        super().setUp()
        self.first = Release(WITHOUT).create("A")
        self.second = Release(WITHOUT).create("B")
        self.other_connection = connection.copy()
        self.addCleanup(self.other_connection.close)
        self.pool = ThreadPoolExecutor(1)
        self.addCleanup(self.pool.shutdown)

    def start(self, target=FILLED):
        """Start to migrate in a thread, and return when it has to wait for a lock."""
        future = self.pool.submit(self.migrate_in_thread, target)
        with connection.cursor() as cursor:
            for _ in range(1000):
                # A transaction would always see the statistics that it saw first.
                cursor.execute("SELECT pg_stat_clear_snapshot()")
                cursor.execute(WAITING)
                if cursor.rowcount or future.done():
                    return future
                time.sleep(0.01)
        self.fail("The migration does not wait for a lock.")

    def migrate_in_thread(self, target):
        try:
            call_command(
                "migrate", "orgadmin", target, verbosity=0, stdout=io.StringIO()
            )
        finally:
            connection.close()

    def edit_first(self):
        """Edit the first row on the other connection, which fails if it has to wait."""
        with self.other_connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '500ms'")
            cursor.execute(EDIT_PHONE, [self.first])

    def assert_all_filled(self):
        self.assertFalse(Release(FILLING).organizations.filter(admin=None).exists())

    def test_an_edit_of_another_row_does_not_wait(self):
        with transaction.atomic():
            Release(WITHOUT).edit(self.second)
            future = self.start()
            self.edit_first()
        future.result()
        self.assert_all_filled()

    def test_an_edit_does_not_wait_on_the_way_back(self):
        migrate(FILLED)
        with transaction.atomic():
            Release(FILLING).edit(self.second)
            future = self.start(EMPTY)
            self.edit_first()
        future.result()
        self.assertFalse(Group.objects.exists())

    def test_an_edit_does_not_wait_while_search_texts_are_filled(self):
        migrate("0018")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(EDIT_PHONE, [self.second])
            future = self.start("0019")
            self.edit_first()
        future.result()
        # The table does not have the columns of later migrations.
        stored = Organization.objects.order_by("pk").values_list("search_text")
        texts = [text.strip() for (text,) in stored]
        self.assertEqual(texts, ["a", "b"])

    def test_an_edit_does_not_wait_for_a_group_with_a_wanted_name(self):
        with transaction.atomic():
            Release(FILLING).create("B")
            future = self.start()
            self.edit_first()
        future.result()
        organizations = Release(FILLING).organizations.order_by("pk")
        names = list(organizations.values_list("admin__name", flat=True))
        self.assertEqual(names, ["A Admin", f"B {self.second} Admin", "B Admin"])

    def test_someone_who_saves_twice_in_a_transaction_gets_no_deadlock(self):
        with transaction.atomic():
            Release(FILLING).create("B")
            future = self.start()
            time.sleep(UNTIL_DEADLOCK_IS_FOUND)
            Release(FILLING).create("A")
        future.result()
        self.assert_all_filled()

    def test_any_other_error_is_raised_at_once(self):
        with (
            mock.patch.object(transactions.time, "sleep") as sleep,
            connection.schema_editor(atomic=False) as schema_editor,
            self.assertRaises(DataError),
        ):
            transactions.commit(schema_editor, schema_editor.execute, "SELECT 1 / 0")
        self.assertFalse(sleep.called)
