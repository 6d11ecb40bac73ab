"""The rules for migrations.

Each can be undone, changes either the schema or data, and blocks nobody for long.
"""

import io
from itertools import pairwise
from unittest import mock, skipUnless

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import (
    IntegrityError,
    OperationalError,
    connection,
    migrations,
    models,
    transaction,
)
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.special import RunPython, RunSQL
from django.test import TestCase, TransactionTestCase, override_settings
from django_migration_linter.sql_analyser import (
    PostgresqlAnalyser,
    analyse_sql_statements,
)
from django_test_migrations.migrator import Migrator
from django_zero_downtime_migrations.backends.postgres.schema import (
    UnsafeOperationException,
)

from tests.factories import create_organization
from tests.migration_case import MigrationCase

SLEEP = "orgadmin.management.commands.migrate.time.sleep"
RECIPE = "docs/required-relation.md shows how to split a migration."

NEW_COLUMN = "the column is new and empty"
RELEASE_STOPPED = "the recipe says to stop the previous release first"

# {(migration, code of the linter): why it may break the rule}
ALLOWED = {
    ("0002_organization_admin", "ADD_UNIQUE"): NEW_COLUMN,
    ("0004_require_organization_admin", "NOT_NULL"): RELEASE_STOPPED,
    ("0005_organization_reviewer", "ADD_UNIQUE"): NEW_COLUMN,
    ("0007_require_organization_reviewer", "NOT_NULL"): RELEASE_STOPPED,
    ("0029_invitation_token_hash", "ADD_UNIQUE"): NEW_COLUMN,
}

INSERT_WITHOUT_ADMIN = """
    INSERT INTO orgadmin_organization
        (name, website, email, phone, address, tax_id, notes)
    VALUES ('Late', '', '', '', '', '', '')
    RETURNING id
"""
SET_ADMIN = "UPDATE orgadmin_organization SET admin_id = %s WHERE id = %s"

on_postgresql = skipUnless(
    connection.vendor == "postgresql", "only PostgreSQL has these locks"
)


def list_migrations():
    """Return the names of the app's migrations, in order."""
    names = [
        name
        for app, name in MigrationLoader(connection).disk_migrations
        if app == "orgadmin"
    ]
    return sorted(names)


def find_faults(migration, state):
    """Return which rules a migration breaks, and what to do about it.

    `state` is the project's state before the migration.
    """
    faults = []
    if not all(operation.reversible for operation in migration.operations):
        faults.append(
            "It cannot be undone. Give it a reverse, which is RunPython.noop if there"
            " is nothing to undo."
        )
    writes_data = any(
        isinstance(operation, RunPython | RunSQL) for operation in migration.operations
    )
    if writes_data and len(migration.operations) > 1:
        faults.append(
            "It has other operations beside data. Put the data into a migration of its"
            f" own: {RECIPE}"
        )
    if connection.vendor == "postgresql":
        faults += find_locks(migration, state)
    return faults


@override_settings(ZERO_DOWNTIME_MIGRATIONS_RAISE_FOR_UNSAFE=True)
def find_locks(migration, state):
    try:
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            migration.apply(state, editor, collect_sql=True)
    except UnsafeOperationException as error:
        return [f"It would block everybody: {error}"]
    # The backend makes Django's operations safe, and has just refused changes of types
    # that are not. It cannot do that for handwritten SQL.
    errors, _ignored, warnings = analyse_sql_statements(
        PostgresqlAnalyser, editor.collected_sql, ["ALTER_COLUMN"]
    )
    return [
        f"{issue.message} ({issue.code}): it would block someone, or break the previous"
        f" release. {RECIPE}"
        for issue in errors + warnings
        if (migration.name, issue.code) not in ALLOWED
    ]


class RulesTests(TestCase):
    def test_each_migration_keeps_the_rules(self):
        loader = MigrationLoader(connection)
        names = list_migrations()
        self.assertGreaterEqual(len(names), 20)
        for name in names:
            with self.subTest(name=name):
                key = ("orgadmin", name)
                state = loader.project_state(key, at_end=False)
                self.assertEqual(find_faults(loader.get_migration(*key), state), [])

    def find_faults_of(self, *operations):
        migration = migrations.Migration("9999_bad", "orgadmin")
        migration.operations = list(operations)
        state = MigrationLoader(connection).project_state()
        return " ".join(find_faults(migration, state))

    def test_schema_beside_data_is_refused(self):
        column = migrations.AddField(
            "organization", "owner", models.CharField(max_length=9, null=True)
        )
        data = RunPython(RunPython.noop, RunPython.noop)
        self.assertIn(
            "a migration of its own: docs/required-relation.md",
            self.find_faults_of(column, data),
        )
        self.assertEqual(self.find_faults_of(data), "")

    def test_operations_that_cannot_be_undone_are_refused(self):
        for operation in (RunPython(RunPython.noop), RunSQL("SELECT 1")):
            self.assertIn("Give it a reverse", self.find_faults_of(operation))

    @on_postgresql
    def test_operations_that_block_everybody_are_refused(self):
        new_required = models.CharField(max_length=9, default="x")
        create_index = 'CREATE INDEX "x" ON "orgadmin_organization" ("phone")'
        set_not_null = (
            'ALTER TABLE "orgadmin_organization" ALTER COLUMN "reference" SET NOT NULL'
        )
        refused = [
            (migrations.AddField("organization", "owner", new_required), "NOT NULL"),
            (
                migrations.AlterField("organization", "name", models.IntegerField()),
                "ALTER COLUMN TYPE",
            ),
            (
                migrations.RenameField("organization", "phone", "telephone"),
                "RENAME COLUMN",
            ),
            (migrations.RenameModel("Contact", "Person"), "RENAME"),
            (migrations.RemoveField("organization", "phone"), "DROP_COLUMN"),
            (RunSQL(create_index, RunSQL.noop), "CREATE_INDEX"),
            (RunSQL(set_not_null, RunSQL.noop), "NOT_NULL"),
        ]
        for operation, expected in refused:
            with self.subTest(expected=expected):
                self.assertIn(expected, self.find_faults_of(operation))

    @on_postgresql
    def test_operations_that_block_nobody_are_not_refused(self):
        index = models.Index(fields=["phone"], name="x")
        for operation in (
            migrations.AddField("organization", "owner", models.TextField(null=True)),
            migrations.AddIndex("organization", index),
            migrations.AlterField("organization", "phone", models.TextField()),
        ):
            with self.subTest(operation=operation.describe()):
                self.assertEqual(self.find_faults_of(operation), "")


class EachWayTests(TransactionTestCase):
    def test_each_goes_forwards_back_and_forwards_with_rows(self):
        names = list_migrations()
        migrator = Migrator()
        self.addCleanup(migrator.reset)
        state = migrator.apply_tested_migration(("orgadmin", names[0]))
        rows = [(1, "Acme", "R1"), (2, "Acme", None), (3, "Zoë\nLtd", "R3")]
        OldOrganization = state.apps.get_model("orgadmin", "Organization")
        OldOrganization.objects.bulk_create(
            OldOrganization(pk=pk, name=name, reference=reference)
            for pk, name, reference in rows
        )
        for before, name in pairwise(names):
            for target in (name, before, name):
                with self.subTest(name=name, target=target):
                    state = migrator.apply_tested_migration(("orgadmin", target))
                    self.assertEqual(self.read_rows(state), rows)

    def read_rows(self, state):
        Organization = state.apps.get_model("orgadmin", "Organization")
        organizations = Organization.objects.order_by("pk")
        return list(organizations.values_list("pk", "name", "reference"))


@on_postgresql
class PendingTriggersTests(TransactionTestCase):
    """Why data and schema do not share a migration.

    This is what PostgreSQL answers to Django's own schema editor.
    """

    def setUp(self):
        self.group = Group.objects.create(name="Another")
        self.organization = create_organization()

    def apply(self, *operations):
        migration = migrations.Migration("9999_both", "orgadmin")
        migration.operations = operations
        with transaction.atomic():
            with DatabaseSchemaEditor(connection, atomic=True) as editor:
                migration.apply(MigrationLoader(connection).project_state(), editor)
            transaction.set_rollback(True)

    def fill(self, apps, schema_editor):
        schema_editor.execute(SET_ADMIN, [self.group.pk, self.organization.pk])

    def test_rows_with_a_pending_check_keep_the_table_from_being_altered(self):
        column = migrations.AddField(
            "organization", "extra", models.IntegerField(null=True)
        )
        data = RunPython(self.fill, RunPython.noop)
        expected = (
            'cannot ALTER TABLE "orgadmin_organization" because it has pending trigger'
            " events"
        )
        with self.assertRaisesMessage(OperationalError, expected):
            self.apply(data, column)
        # What helps if such a migration cannot be split:
        self.apply(data, RunSQL("SET CONSTRAINTS ALL IMMEDIATE"), column)

    def test_deleted_groups_keep_their_column_from_being_dropped(self):
        expected = "because it has pending trigger events"
        with (
            self.assertRaisesMessage(OperationalError, expected),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(SET_ADMIN, [self.group.pk, self.organization.pk])
            cursor.execute("DELETE FROM auth_group WHERE name = 'Acme Admin'")
            cursor.execute("ALTER TABLE orgadmin_organization DROP COLUMN admin_id")


@on_postgresql
class RequireRelationTests(MigrationCase):
    """NOT NULL on PostgreSQL, while others save or read."""

    step = "0003"

    def setUp(self):
        super().setUp()
        self.constraints = self.read_constraints()
        self.foreign_keys = self.read_foreign_keys()

    def read_foreign_keys(self):
        """Return {(name, id)}: a key that is dropped and added again gets a new id."""
        return set(
            self.query("""
                SELECT conname, oid
                FROM pg_constraint
                WHERE contype = 'f'
                    AND conrelid = 'orgadmin_organization'::regclass
            """)
        )

    def read_constraints(self):
        """Return the names of the foreign keys and checks."""
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(
                cursor, "orgadmin_organization"
            )
        names = set()
        for name, details in constraints.items():
            is_check = details["check"] and details["columns"]
            if details["foreign_key"] or is_check:
                names.add(name)
        return names

    def query(self, statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def execute(self, statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)

    def assert_constraints_are_kept(self):
        self.assertEqual(self.read_constraints(), self.constraints)
        self.assertEqual(self.read_foreign_keys(), self.foreign_keys)

    def test_a_row_that_was_saved_too_late_is_named_and_no_check_is_left(self):
        [(pk,)] = self.query(INSERT_WITHOUT_ADMIN)
        with (
            # As if the row had been saved after the migration asked.
            mock.patch("django.db.models.QuerySet.exists", return_value=False),
            self.assertRaisesMessage(
                IntegrityError,
                f"1 organization has no admin: {pk}. The previous release still saves",
            ),
        ):
            call_command("migrate", "orgadmin", "0004", verbosity=0)
        self.assert_constraints_are_kept()
        call_command(
            "migrate", "orgadmin", "0002_organization_admin", fake=True, verbosity=0
        )
        call_command("migrate", "orgadmin", "0004", verbosity=0)
        names = self.query("""
            SELECT auth_group.name
            FROM orgadmin_organization
            JOIN auth_group ON auth_group.id = admin_id
        """)
        self.assertEqual(names, [("Late Admin",)])

    def test_a_refusal_keeps_a_check_that_somebody_else_added(self):
        self.execute("""
            ALTER TABLE orgadmin_organization
            ADD CONSTRAINT own_check CHECK (admin_id > 0)
        """)
        self.execute(INSERT_WITHOUT_ADMIN)
        with self.assertRaises(IntegrityError):
            call_command("migrate", "orgadmin", "0004", verbosity=0)
        self.assertEqual(self.read_constraints(), self.constraints | {"own_check"})
        self.execute("DELETE FROM orgadmin_organization")
        self.execute("ALTER TABLE orgadmin_organization DROP CONSTRAINT own_check")

    def test_the_foreign_key_stays_in_both_directions_although_it_gives_way(self):
        for target in ("0004", "0003"):
            reader = connection.copy()
            self.addCleanup(reader.close)
            reader.set_autocommit(False)
            reader.cursor().execute(
                "SELECT count(*) FROM orgadmin_organization, auth_group"
            )
            with mock.patch(SLEEP) as sleep:
                # The reader ends its transaction while the migration waits.
                sleep.side_effect = lambda seconds, reader=reader: reader.rollback()
                call_command("migrate", "orgadmin", target, stdout=io.StringIO())
            self.assertEqual(sleep.call_count, 1)
            self.assert_constraints_are_kept()
