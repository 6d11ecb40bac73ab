import io
from unittest import mock, skipIf, skipUnless

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import SimpleTestCase

from orgadmin.management import search_indexes
from orgadmin.management.deploy_check import check_search
from tests.migration_case import MigrationCase

DEFINITIONS = """
    SELECT indexname, indexdef
    FROM pg_indexes
    WHERE indexdef LIKE '%trgm%' AND schemaname = current_schema()
"""

# Indexes of which a search may read a long list of changes
WITH_LONG_LISTS = """
    SELECT index_class.relname
    FROM pg_class index_class
    JOIN pg_am ON pg_am.oid = index_class.relam
    WHERE pg_am.amname = 'gin'
        AND NOT COALESCE(reloptions, '{}') @> '{gin_pending_list_limit=64}'
"""


def create_search_indexes():
    out = io.StringIO()
    call_command("create_search_indexes", stdout=out)
    return out.getvalue()


@skipUnless(connection.vendor == "postgresql", "Only PostgreSQL has trigram indexes")
class CreateTests(MigrationCase):
    def list_indexes(self):
        with connection.cursor() as cursor:
            cursor.execute(DEFINITIONS)
            return dict(cursor.fetchall())

    def drop(self, what):
        with connection.cursor() as cursor:
            cursor.execute(f"DROP {what}")

    def test_creates_the_same_indexes_as_the_migrations(self):
        migrated = self.list_indexes()
        self.assertEqual(set(migrated), set(search_indexes.TRIGRAM_INDEXES))
        self.drop("EXTENSION pg_trgm CASCADE")
        self.assertEqual(self.list_indexes(), {})
        printed = create_search_indexes()
        self.assertEqual(self.list_indexes(), migrated)
        self.assertIn("Created organization_name_trigram.", printed)

    def test_no_index_collects_a_long_list_of_changes(self):
        with connection.cursor() as cursor:
            cursor.execute(WITH_LONG_LISTS)
            self.assertEqual(cursor.fetchall(), [])

    def test_creates_only_what_is_missing(self):
        self.drop("INDEX contact_name_trigram")
        [finding] = check_search()
        self.assertIn("contact_name_trigram", finding.text)
        self.assertIn("create_search_indexes", finding.text)
        self.assertEqual(create_search_indexes(), "Created contact_name_trigram.\n")
        self.assertEqual(create_search_indexes(), "No index is missing.\n")
        [finding] = check_search()
        self.assertEqual(finding.text, "all trigram indexes exist")

    def test_says_what_to_do_if_the_extension_cannot_be_created(self):
        self.drop("EXTENSION pg_trgm CASCADE")
        with (
            mock.patch.object(search_indexes, "EXTENSION", "missing_extension"),
            self.assertRaisesMessage(CommandError, "postgresql-contrib"),
        ):
            create_search_indexes()
        self.assertEqual(self.list_indexes(), {})


@skipIf(connection.vendor == "postgresql", "About databases without trigrams")
class OtherDatabaseTests(SimpleTestCase):
    def test_says_that_only_postgresql_has_them(self):
        with self.assertRaisesMessage(CommandError, "Only PostgreSQL"):
            create_search_indexes()
        self.assertEqual(list(check_search()), [])
