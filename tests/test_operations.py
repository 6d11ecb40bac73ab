"""Somebody is in the middle of a long transaction while a data step runs: it gives way, and nobody else waits."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock, skipUnless

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DataError, connection, transaction
from django.test import TransactionTestCase

from orgadmin import operations
from orgadmin.models import Organization

from .test_migrations import migrate
from .test_releases import EMPTY, FILLED, FILLING, WITHOUT, Release

WAITS = "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class LongTransactionTests(TransactionTestCase):
    def setUp(self):
        self.addCleanup(migrate)
        migrate(EMPTY)
        self.ids = [Release(WITHOUT).create(name) for name in ("A", "B")]
        self.other = connection.copy()
        self.addCleanup(self.other.close)
        self.pool = ThreadPoolExecutor(1)
        self.addCleanup(self.pool.shutdown)

    def start(self, target=FILLED):
        """Migrate in a thread; return when it waits for somebody."""
        future = self.pool.submit(self.migrate, target)
        with connection.cursor() as cursor:
            for _ in range(1000):
                cursor.execute(
                    "SELECT pg_stat_clear_snapshot()"
                )  # else a transaction sees who was there at first
                cursor.execute(WAITS)
                if cursor.rowcount or future.done():
                    return future
                time.sleep(0.01)
        self.fail("The migration waits for nobody.")

    def migrate(self, target):
        try:
            call_command(
                "migrate", "orgadmin", target, verbosity=0, stdout=io.StringIO()
            )
        finally:
            connection.close()

    def edit_other(self):
        with self.other.cursor() as cursor:
            cursor.execute("SET lock_timeout = '500ms'")
            cursor.execute(
                "UPDATE orgadmin_organization SET phone = '1' WHERE id = %s",
                [self.ids[0]],
            )

    def test_who_edits_another_row_does_not_wait_for_who_edits_long(self):
        with transaction.atomic():
            Release(WITHOUT).edit(self.ids[1])
            future = self.start()
            self.edit_other()
        future.result()
        self.assertFalse(Release(FILLING).organizations.filter(admin=None).exists())

    def test_nor_on_the_way_back(self):
        migrate(FILLED)
        with transaction.atomic():
            Release(FILLING).edit(self.ids[1])
            future = self.start(EMPTY)
            self.edit_other()
        future.result()
        self.assertFalse(Group.objects.exists())

    def test_nor_while_search_texts_are_filled(self):
        migrate("0018")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE orgadmin_organization SET phone = '2' WHERE id = %s",
                [self.ids[1]],
            )
            future = self.start("0019")
            self.edit_other()
        future.result()
        texts = Organization.objects.order_by("pk").values_list(
            "search_text", flat=True
        )
        self.assertEqual([text.strip() for text in texts], ["a", "b"])

    def test_any_other_error_is_raised_at_once(self):
        with (
            mock.patch.object(operations.time, "sleep") as sleep,
            self.assertRaises(DataError),
        ):
            with connection.schema_editor(atomic=False) as schema_editor:
                operations.commit(
                    schema_editor, lambda: schema_editor.execute("SELECT 1 / 0")
                )
        self.assertFalse(sleep.called)

    def test_nor_for_who_saves_a_group_of_a_name_that_is_wanted(self):
        with transaction.atomic():
            Release(FILLING).create("B")
            future = self.start()
            self.edit_other()
        future.result()
        names = (
            Release(FILLING)
            .organizations.order_by("pk")
            .values_list("admin__name", flat=True)
        )
        self.assertEqual(list(names), ["A Admin", f"B {self.ids[1]} Admin", "B Admin"])

    def test_who_saves_several_in_one_transaction_is_no_victim_of_a_deadlock(self):
        with transaction.atomic():
            Release(FILLING).create("B")
            future = self.start()
            time.sleep(
                1.2
            )  # PostgreSQL looks for a deadlock once, after a second of waiting
            Release(FILLING).create("A")
        future.result()
        self.assertFalse(Release(FILLING).organizations.filter(admin=None).exists())
