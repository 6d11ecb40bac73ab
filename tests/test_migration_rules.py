"""The rules for migrations: each can be undone, changes the schema or data, and holds nobody up."""

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

from .factories import create_organization

SLEEP = "orgadmin.management.commands.migrate.time.sleep"
RECIPE = "docs/required-relation.md shows how to split a migration."
# What breaks a rule, and why it may.
ALLOWED = {
    ("0002_organization_admin", "ADD_UNIQUE"): "the column is new and empty",
    (
        "0004_require_organization_admin",
        "NOT_NULL",
    ): "the release before is stopped first: the recipe says so",
    ("0005_organization_reviewer", "ADD_UNIQUE"): "the column is new and empty",
    (
        "0007_require_organization_reviewer",
        "NOT_NULL",
    ): "the release before is stopped first: the recipe says so",
}
on_postgresql = skipUnless(
    connection.vendor == "postgresql", "locks are looked at on PostgreSQL"
)


def find_faults(migration, state):
    """Return what breaks a rule in a migration, and how to mend it; `state` is that before it."""
    faults, data = (
        [],
        [
            operation
            for operation in migration.operations
            if isinstance(operation, RunPython | RunSQL)
        ],
    )
    if not all(operation.reversible for operation in migration.operations):
        faults.append(
            "It cannot be undone. Give it a reverse; RunPython.noop where there is nothing to undo."
        )
    if data and len(migration.operations) > 1:
        faults.append(
            f"It has data beside something else. Leave it alone in a migration of its own: {RECIPE}"
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
        return [f"It would hold everybody up: {error}"]
    # What Django makes of operations is online here; what somebody wrote as SQL may not be.
    # Which types may be changed is known to the backend, which refuses the others.
    errors, _, warnings = analyse_sql_statements(
        PostgresqlAnalyser, editor.collected_sql, ["ALTER_COLUMN"]
    )
    return [
        f"{issue.message} ({issue.code}): it would hold somebody up, or end the release before. {RECIPE}"
        for issue in errors + warnings
        if (migration.name, issue.code) not in ALLOWED
    ]


class RulesTests(TestCase):
    def test_each_migration_keeps_the_rules(self):
        loader = MigrationLoader(connection)
        names = [name for app, name in loader.disk_migrations if app == "orgadmin"]
        self.assertGreaterEqual(len(names), 20)
        for name in names:
            with self.subTest(name=name):
                key = ("orgadmin", name)
                state = loader.project_state(key, at_end=False)
                self.assertEqual(find_faults(loader.get_migration(*key), state), [])

    def refuse(self, *operations):
        migration = migrations.Migration("9999_bad", "orgadmin")
        migration.operations = list(operations)
        return " ".join(
            find_faults(migration, MigrationLoader(connection).project_state())
        )

    def test_schema_beside_data_is_refused(self):
        column = migrations.AddField(
            "organization", "owner", models.CharField(max_length=9, null=True)
        )
        data = RunPython(RunPython.noop, RunPython.noop)
        self.assertIn(
            "a migration of its own: docs/required-relation.md",
            self.refuse(column, data),
        )
        self.assertEqual(self.refuse(data), "")

    def test_what_cannot_be_undone_is_refused(self):
        self.assertIn("Give it a reverse", self.refuse(RunPython(RunPython.noop)))
        self.assertIn("Give it a reverse", self.refuse(RunSQL("SELECT 1")))

    @on_postgresql
    def test_what_holds_everybody_up_is_refused(self):
        text = models.TextField()
        index = RunSQL(
            'CREATE INDEX "x" ON "orgadmin_organization" ("phone")', RunSQL.noop
        )
        required = (
            'ALTER TABLE "orgadmin_organization" ALTER COLUMN "reference" SET NOT NULL'
        )
        for operation, expected in (
            (
                migrations.AddField(
                    "organization", "owner", models.CharField(max_length=9, default="x")
                ),
                "NOT NULL",
            ),
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
            (index, "CREATE_INDEX"),
            (RunSQL(required, RunSQL.noop), "NOT_NULL"),
        ):
            with self.subTest(expected=expected):
                self.assertIn(expected, self.refuse(operation))
        for operation in (
            migrations.AddField("organization", "owner", models.TextField(null=True)),
            migrations.AddIndex(
                "organization", models.Index(fields=["phone"], name="x")
            ),
            migrations.AlterField("organization", "phone", text),
        ):
            with self.subTest(operation=operation.describe()):
                self.assertEqual(self.refuse(operation), "")


class EachWayTests(TransactionTestCase):
    def test_each_goes_forwards_back_and_forwards_with_rows(self):
        names = sorted(
            name
            for app, name in MigrationLoader(connection).disk_migrations
            if app == "orgadmin"
        )
        migrator = Migrator()
        self.addCleanup(migrator.reset)
        state = migrator.apply_tested_migration(("orgadmin", names[0]))
        rows = [(1, "Acme", "R1"), (2, "Acme", None), (3, "Zoë\nLtd", "R3")]
        model = state.apps.get_model("orgadmin", "Organization")
        model.objects.bulk_create(
            model(pk=pk, name=name, reference=reference) for pk, name, reference in rows
        )
        for before, name in pairwise(names):
            for target in (name, before, name):
                with self.subTest(name=name, target=target):
                    state = migrator.apply_tested_migration(("orgadmin", target))
                    organizations = state.apps.get_model(
                        "orgadmin", "Organization"
                    ).objects.order_by("pk")
                    self.assertEqual(
                        list(organizations.values_list("pk", "name", "reference")), rows
                    )


@on_postgresql
class PendingTriggersTests(TransactionTestCase):
    """Why data and schema do not share a migration: what PostgreSQL says of it, to Django's own schema editor."""

    def setUp(self):
        self.group, self.organization = (
            Group.objects.create(name="Another"),
            create_organization(),
        )
        self.point = "UPDATE orgadmin_organization SET admin_id = %s WHERE id = %s"

    def apply(self, *operations):
        migration = migrations.Migration("9999_both", "orgadmin")
        migration.operations = operations
        with transaction.atomic():
            with DatabaseSchemaEditor(connection, atomic=True) as editor:
                migration.apply(MigrationLoader(connection).project_state(), editor)
            transaction.set_rollback(True)

    def fill(self, apps, schema_editor):
        schema_editor.execute(self.point, [self.group.pk, self.organization.pk])

    def test_rows_that_wait_for_their_check_keep_the_table_from_being_altered(self):
        column = migrations.AddField(
            "organization", "extra", models.IntegerField(null=True)
        )
        data = RunPython(self.fill, RunPython.noop)
        expected = 'cannot ALTER TABLE "orgadmin_organization" because it has pending trigger events'
        with self.assertRaisesMessage(OperationalError, expected):
            self.apply(data, column)
        self.apply(
            data, RunSQL("SET CONSTRAINTS ALL IMMEDIATE"), column
        )  # the cure where it cannot be split

    def test_backwards_as_the_groups_are_deleted_and_the_column_goes(self):
        with (
            self.assertRaisesMessage(
                OperationalError, "because it has pending trigger events"
            ),
            transaction.atomic(),
        ):
            with connection.cursor() as cursor:
                cursor.execute(self.point, [self.group.pk, self.organization.pk])
                cursor.execute("DELETE FROM auth_group WHERE name = 'Acme Admin'")
                cursor.execute("ALTER TABLE orgadmin_organization DROP COLUMN admin_id")


@on_postgresql
class RequireRelationTests(TransactionTestCase):
    """NOT NULL on PostgreSQL, as somebody saves or reads meanwhile."""

    def setUp(self):
        self.addCleanup(call_command, "migrate", "orgadmin", verbosity=0)
        call_command("migrate", "orgadmin", "0003", verbosity=0)
        self.before = self.read_constraints(), self.read_foreign_keys()

    def read_foreign_keys(self):
        """Return them with their keys: one that was dropped and added again has another."""
        with connection.cursor() as cursor:
            table = "'orgadmin_organization'::regclass"
            cursor.execute(
                f"SELECT conname, oid FROM pg_constraint WHERE contype = 'f' AND conrelid = {table}"
            )
            return set(cursor.fetchall())

    def read_constraints(self):
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(
                cursor, "orgadmin_organization"
            ).items()
            return {
                name
                for name, about in constraints
                if about["foreign_key"] or about["check"] and about["columns"]
            }

    def test_a_row_that_is_saved_since_it_was_asked_is_named_and_nothing_is_left(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO orgadmin_organization (name, website, email, phone, address, tax_id, notes)"
                " VALUES ('Late', '', '', '', '', '', '') RETURNING id"
            )
            [pk] = cursor.fetchone()
        with mock.patch("django.db.models.QuerySet.exists", return_value=False):
            with self.assertRaisesMessage(
                IntegrityError,
                f"1 organization has no admin: {pk}. The previous release still saves",
            ):
                call_command("migrate", "orgadmin", "0004", verbosity=0)
        self.assertEqual(
            (self.read_constraints(), self.read_foreign_keys()), self.before
        )
        call_command(
            "migrate", "orgadmin", "0002_organization_admin", fake=True, verbosity=0
        )
        call_command("migrate", "orgadmin", "0004", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT g.name FROM orgadmin_organization o JOIN auth_group g ON g.id = admin_id"
            )
            self.assertEqual(cursor.fetchall(), [("Late Admin",)])

    def test_a_check_of_ones_own_outlives_a_refusal(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE orgadmin_organization ADD CONSTRAINT own_check CHECK (admin_id > 0)"
            )
            cursor.execute(
                "INSERT INTO orgadmin_organization (name, website, email, phone, address, tax_id, notes)"
                " VALUES ('Late', '', '', '', '', '', '')"
            )
        with self.assertRaises(IntegrityError):
            call_command("migrate", "orgadmin", "0004", verbosity=0)
        self.assertEqual(self.read_constraints(), self.before[0] | {"own_check"})
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM orgadmin_organization")
            cursor.execute(
                "ALTER TABLE orgadmin_organization DROP CONSTRAINT own_check"
            )

    def test_the_foreign_key_stays_both_ways_though_it_gives_way(self):
        for target in ("0004", "0003"):
            reader = connection.copy()
            self.addCleanup(reader.close)
            reader.set_autocommit(False)
            reader.cursor().execute(
                "SELECT count(*) FROM orgadmin_organization, auth_group"
            )
            with mock.patch(
                SLEEP, side_effect=lambda seconds, reader=reader: reader.rollback()
            ) as sleep:
                call_command("migrate", "orgadmin", target, stdout=io.StringIO())
            self.assertEqual(sleep.call_count, 1)
            self.assertEqual(
                (self.read_constraints(), self.read_foreign_keys()), self.before
            )
