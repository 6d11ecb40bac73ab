"""The columns by which lists are sorted and filtered, and their triggers."""

import importlib
import io
import re
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from unittest import skipUnless

from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.migrations import AddField, Migration
from django.db.migrations.loader import MigrationLoader
from django.test import TestCase, TransactionTestCase
from django.test.utils import CaptureQueriesContext

from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.models import Contact, Organization, User
from orgadmin.operations import UpdateChangedAt
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.records.columns import FIELDS
from orgadmin.records.doctor.name_check import examine_names

from .factories import create_organization, create_superuser, create_user
from .migrating import migrate
from .migration_case import MigrationCase
from .together import run_together

TRIGGERS = {
    "orgadmin_members_joined",
    "orgadmin_members_left",
    "orgadmin_user_activated",
    "orgadmin_organization_added",
    "orgadmin_organization_changed",
    "orgadmin_contacts_added",
    "orgadmin_contacts_changed",
    "orgadmin_contacts_deleted",
}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


# Other tests use other databases of the same server. A lock on a row names none.
WAITING = """
    SELECT EXISTS (
        SELECT 1
        FROM pg_locks
        WHERE NOT granted
            AND pid IN (
                SELECT pid
                FROM pg_locks
                JOIN pg_database ON pg_database.oid = pg_locks.database
                WHERE datname = current_database()
            )
    )
"""


def is_anyone_waiting():
    """Return whether a transaction waits for a lock, on PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return cursor.fetchone()[0]


def execute(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def change_long_ago():
    """Pretend that the organizations were last changed long ago."""
    execute("UPDATE orgadmin_organization SET changed_at = %s", LONG_AGO)


def read_triggers():
    """Return {name of a trigger: its definition}."""
    if connection.vendor == "sqlite":
        rows = execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    else:
        rows = execute("""
            SELECT tgname, pg_get_triggerdef(oid)
            FROM pg_trigger
            WHERE NOT tgisinternal
        """)
    return dict(rows)


def read_recorded_columns(trigger):
    """Return the columns of which a change fires the trigger."""
    definition = read_triggers()[trigger]
    columns = re.search(r"UPDATE OF (.*) ON ", definition)[1]
    return columns.split(", ")


class OrderTests(TestCase):
    def test_names_are_sorted_without_case_and_accents(self):
        names = ["zte", "Zioncom", "Österberg", "oslo", "Ａcme", "acme 2", "Ñandú"]
        Organization.objects.bulk_create(Organization(name=name) for name in names)
        self.assertEqual(
            list(Organization.objects.values_list("name", flat=True)),
            ["Ａcme", "acme 2", "Ñandú", "oslo", "Österberg", "Zioncom", "zte"],
        )

    def test_databases_compare_code_points(self):
        names = ["a b", "a-c", "aa", "a_d", "日本", "я"]
        for name in names:
            create_organization(name)
        stored = Organization.objects.values_list("name", flat=True)
        self.assertEqual(list(stored), sorted(names))

    def test_a_long_name_can_be_stored_and_sorted(self):
        # This character becomes 18 others.
        organization = create_organization("\ufdfa" * 255)
        self.assertEqual(len(organization.sort_name), 255)

    def test_contacts_are_sorted_the_same_way(self):
        acme = create_organization()
        for name in ("zoe", "Émile", "Adam"):
            Contact.objects.create(organization=acme, name=name)
        names = acme.contacts.values_list("name", flat=True)
        self.assertEqual(list(names), ["Adam", "Émile", "zoe"])

    def test_follows_the_name_however_it_is_saved(self):
        acme = create_organization("Ä")
        acme.name = "Ö"
        acme.save(update_fields=["name"])
        self.assertEqual(Organization.objects.get().sort_name, "o")
        Organization.objects.update(name="Ü")
        self.assertEqual(Organization.objects.get().sort_name, "u")


class TriggersTests(TestCase):
    def test_all_are_there_after_all_migrations(self):
        self.assertLessEqual(TRIGGERS, {*read_triggers()})

    def test_they_know_all_fields(self):
        self.assertCountEqual(
            read_recorded_columns("orgadmin_organization_changed"),
            FIELDS,
            "Write a migration with UpdateChangedAt: docs/changing.md shows how.",
        )
        triggers = importlib.import_module("orgadmin.migrations.0057_list_triggers")
        fields = {field.column for field in Contact._meta.fields}
        expected = fields - {"id", "sort_name"}
        self.assertEqual({*triggers.CONTACT_FIELDS}, expected)


class NewColumnTests(TransactionTestCase):
    def test_triggers_stay_if_a_column_is_added_to_their_table(self):
        triggers = read_triggers()
        state = MigrationLoader(connection).project_state()
        migration = Migration("9999_extra", "orgadmin")
        field = models.CharField(max_length=9, default="", db_default="")
        migration.operations = [AddField("organization", "extra", field)]
        with connection.schema_editor() as editor:
            migration.apply(state.clone(), editor)
        try:
            self.assertEqual(read_triggers(), triggers)
        finally:
            with connection.schema_editor() as editor:
                migration.unapply(state.clone(), editor)
        self.assertEqual(read_triggers(), triggers)


class UpdateChangedAtTests(TransactionTestCase):
    def apply(self, columns, *, before, is_reversed=False):
        operation = UpdateChangedAt(columns, before=before)
        with connection.schema_editor() as editor:
            if is_reversed:
                operation.reverse_code(None, editor)
            else:
                operation.code(None, editor)

    def test_replaces_the_columns_and_puts_them_back(self):
        acme = create_organization()
        columns = [*FIELDS, "trashed_by_name"]
        self.apply(columns, before=FIELDS)
        change_long_ago()
        execute("UPDATE orgadmin_organization SET trashed_by_name = 'Mary'")
        acme.refresh_from_db()
        self.assertGreater(acme.changed_at, LONG_AGO)
        self.apply(columns, before=FIELDS, is_reversed=True)
        change_long_ago()
        execute("UPDATE orgadmin_organization SET trashed_by_name = 'John'")
        acme.refresh_from_db()
        self.assertEqual(acme.changed_at, LONG_AGO)
        self.assertEqual(
            read_recorded_columns("orgadmin_organization_changed"), [*FIELDS]
        )


class ActiveAdminsTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.other = create_organization("Other")
        self.mary = create_user("mary")
        self.john = create_user("john")

    def assert_numbers(self, acme, other=0):
        numbers = dict(Organization.objects.values_list("name", "active_admins"))
        self.assertEqual(numbers, {"Acme": acme, "Other": other})

    def change(self, user, role):
        change = RoleChange(user, self.acme, ROLES_BY_KEY.get(role))
        change_roles([change], notify=False)

    def test_follows_role_changes(self):
        self.assert_numbers(0)
        self.change(self.mary, "admin")
        self.change(self.john, "reviewer")
        self.assert_numbers(1)
        self.change(self.john, "admin")
        self.assert_numbers(2)
        self.change(self.john, "reviewer")
        self.assert_numbers(1)
        self.change(self.mary, None)
        self.assert_numbers(0)

    def test_follows_groups_that_code_changes(self):
        self.mary.groups.add(self.acme.admin, self.other.admin)
        self.john.groups.set([self.acme.admin])
        self.assert_numbers(2, 1)
        self.acme.admin.user_set.clear()
        self.assert_numbers(0, 1)
        self.mary.groups.clear()
        self.assert_numbers(0)

    def test_follows_bulk_operations(self):
        people = User.objects.bulk_create(
            User(username=f"user{number}", is_active=number != 0) for number in range(9)
        )
        memberships = User.groups.through
        memberships.objects.bulk_create(
            memberships(user=user, group=self.acme.admin) for user in people
        )
        self.assert_numbers(8)
        memberships.objects.filter(user__in=people[:3]).delete()
        self.assert_numbers(6)

    def test_follows_people_who_are_deactivated_activated_and_deleted(self):
        self.mary.groups.add(self.acme.admin)
        self.john.groups.add(self.acme.admin)
        self.mary.is_active = False
        self.mary.save()
        self.assert_numbers(1)
        self.john.delete()
        self.assert_numbers(0)
        User.objects.update(is_active=True)
        self.assert_numbers(1)
        self.mary.first_name = "Mary"
        self.mary.save()
        self.assert_numbers(1)

    def test_someone_inactive_joins_and_leaves(self):
        self.mary.is_active = False
        self.mary.save()
        self.mary.groups.add(self.acme.admin)
        self.assert_numbers(0)
        self.mary.groups.remove(self.acme.admin)
        self.assert_numbers(0)

    def test_counts_members_who_were_there_first(self):
        # A fixture may load people before organizations.
        self.mary.groups.add(self.acme.admin)
        values = Organization.objects.filter(pk=self.acme.pk).values()[0]
        del values["active_admins"]
        models.QuerySet.delete(Organization.objects.filter(pk=self.acme.pk))
        models.QuerySet(Organization).bulk_create([Organization(**values)])
        self.assert_numbers(1)

    def test_is_only_written_by_the_database(self):
        self.mary.groups.add(self.acme.admin)
        stale = self.acme
        self.assertEqual(stale.active_admins, 0)
        stale.name = "Acme"
        stale.save()
        self.assertEqual(stale.active_admins, 1)
        Organization.objects.update(active_admins=5, phone="1")
        self.assert_numbers(1)

    def test_saving_reads_it_again_only_when_it_is_needed(self):
        self.acme.phone = "1"
        with CaptureQueriesContext(connection) as queries:
            self.acme.save()
        self.assertFalse(
            [query for query in queries if "active_admins" in query["sql"]]
        )

    def test_the_doctor_finds_and_repairs_a_wrong_number(self):
        execute("UPDATE orgadmin_organization SET active_admins = 7")
        with self.assertRaises(SystemExit):
            call_command("doctor", stdout=io.StringIO())
        call_command("doctor", fix=True, stdout=io.StringIO())
        self.assert_numbers(0)


class ChangedAtTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        change_long_ago()

    def is_changed(self):
        """Return whether the organization was changed, and forget the change."""
        changed_at = Organization.objects.get(pk=self.acme.pk).changed_at
        change_long_ago()
        if changed_at == LONG_AGO:
            return False
        age = datetime.now(UTC) - changed_at
        self.assertLess(abs(age), timedelta(minutes=1))
        return True

    def test_follows_each_field(self):
        for name in ("name", "reference", "website", "phone", "address", "notes"):
            setattr(self.acme, name, "1")
            self.acme.save()
            self.assertTrue(self.is_changed(), name)
            self.acme.save()
            self.assertFalse(self.is_changed(), name)
        Organization.objects.update(tax_id="1")
        self.assertTrue(self.is_changed())

    def test_does_not_follow_members(self):
        create_user("mary").groups.add(self.acme.admin)
        self.assertFalse(self.is_changed())

    def test_follows_contacts(self):
        contact = Contact.objects.create(organization=self.acme, name="Ada")
        self.assertTrue(self.is_changed())
        contact.save()
        self.assertFalse(self.is_changed())
        contact.phone = "1"
        contact.save()
        self.assertTrue(self.is_changed())
        other = create_organization("Other")
        change_long_ago()
        contact.organization = other
        contact.save()
        self.assertTrue(self.is_changed())
        contact.organization = self.acme
        contact.save()
        self.assertTrue(self.is_changed())
        contact.delete()
        self.assertTrue(self.is_changed())
        Contact.objects.bulk_create(
            Contact(organization=self.acme, name=name) for name in "ab"
        )
        self.assertTrue(self.is_changed())
        Contact.objects.all().delete()
        self.assertTrue(self.is_changed())

    def test_fixtures_say_when_it_was(self):
        Contact.objects.create(organization=self.acme, name="Ada")
        change_long_ago()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        fixture = str(Path(folder, "all.json"))
        labels = ["orgadmin.organization", "orgadmin.contact"]
        call_command("dumpdata", *labels, output=fixture, verbosity=0)
        Organization.objects.update(notes="new")
        Contact.objects.all().delete()
        call_command("loaddata", fixture, verbosity=0)
        self.assertFalse(self.is_changed())

    def test_is_not_in_forms_or_histories(self):
        names = {"sort_name", "created_at", "changed_at", "active_admins"}
        fields = {field.name for field in Organization.history.model._meta.fields}
        self.assertFalse(names & fields)
        editable = {f.name for f in Organization._meta.fields if f.editable}
        self.assertFalse(names & editable)


class CreatedAtTests(TestCase):
    def test_stays_when_the_organization_is_saved(self):
        acme = create_organization()
        before = acme.created_at
        acme.name = "Other"
        acme.save()
        self.assertEqual(Organization.objects.get().created_at, before)

    def test_a_copy_is_new(self):
        acme = create_organization()
        execute("UPDATE orgadmin_organization SET created_at = %s", LONG_AGO)
        copy = Organization.objects.get(pk=acme.pk)
        copy.pk = None
        copy.save()
        copy.refresh_from_db()
        self.assertGreater(copy.created_at, LONG_AGO)


class PeopleOrderTests(TestCase):
    """The list of people is in the order of the names that it shows."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root", first_name="Olga", last_name="Ortiz")
        cls.zoe = create_user("a-first", first_name="zoé", last_name="Adams")
        cls.ada = create_user("z-last", first_name="Ädä", last_name="Zuse")
        cls.nameless = create_user("Miller")

    def setUp(self):
        self.client.force_login(self.root)

    def list_usernames(self, query=""):
        page = self.client.get(f"/admin/orgadmin/user/{query}")
        return [user.username for user in page.context["cl"].result_list]

    def test_people_are_sorted_by_name_and_else_by_username(self):
        names = ["z-last", "Miller", "root", "a-first"]
        self.assertEqual(self.list_usernames(), names)
        self.assertEqual(self.list_usernames("?o=-person"), names[::-1])
        self.assertEqual(self.list_usernames("?o=-username"), names)
        others = ["z-last", "Miller", "a-first"]
        self.assertEqual(self.list_usernames("?status=never"), others)

    def test_a_new_name_changes_the_order(self):
        user = User.objects.get(pk=self.zoe.pk)
        user.first_name = "Aaron"
        user.save()
        User.objects.filter(pk=self.ada.pk).update(first_name="", last_name="")
        self.assertEqual(self.list_usernames(), ["a-first", "Miller", "root", "z-last"])

    def test_the_doctor_repairs_the_order(self):
        models.QuerySet(User).filter(pk=self.ada.pk).update(sort_name="")
        [issue] = examine_names(fix=True)
        self.assertEqual(issue.kind, "order of people")
        self.assertEqual(User.objects.get(pk=self.ada.pk).sort_name, "ada zuse")
        self.assertEqual(list(examine_names()), [])


class UpgradeTests(MigrationCase):
    def test_people_from_before_get_a_name_for_sorting(self):
        create_user("zoe", first_name=" Zoé", last_name="Adams")
        create_user("Müller")
        migrate("0090")
        migrate()
        names = User.objects.order_by("pk").values_list("sort_name", flat=True)
        self.assertEqual(list(names), ["zoe adams", "muller"])

    def test_rows_from_before_get_their_columns(self):
        acme = create_organization("Äcme")
        mary = create_user("mary")
        mary.groups.add(acme.admin)
        Contact.objects.create(organization=acme, name="Ö")
        first = datetime(2021, 1, 1, tzinfo=UTC)
        last = datetime(2022, 1, 1, tzinfo=UTC)
        acme.phone = "1"
        acme.save()
        acme.history.filter(history_type="+").update(history_date=first)
        acme.history.filter(history_type="~").update(history_date=last)
        migrate("0055")
        migrate()
        stored = Organization.objects.get()
        self.assertEqual(stored.sort_name, "acme")
        self.assertEqual((stored.created_at, stored.changed_at), (first, last))
        self.assertEqual(stored.active_admins, 1)
        self.assertEqual(Contact.objects.get().sort_name, "o")

    def test_an_interrupted_filling_can_be_continued(self):
        create_organization("A")
        create_organization("B")
        Organization.objects.filter(name="B").order_by()
        models.QuerySet.update(Organization.objects.filter(name="B"), sort_name="")
        filling = importlib.import_module("orgadmin.migrations.0058_fill_list_columns")
        with connection.schema_editor(atomic=False) as editor:
            from django.apps import apps

            filling.fill(apps, editor)
        names = Organization.objects.values_list("sort_name", flat=True)
        self.assertEqual(list(names), ["a", "b"])


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time.")
class RaceTests(TransactionTestCase):
    """Simultaneous changes are counted, and there are no deadlocks."""

    ROUNDS = 30

    def setUp(self):
        self.organizations = [create_organization(f"Acme {n}") for n in range(3)]
        self.people = [create_user(f"user{n}") for n in range(4)]

    def assert_counted(self):
        for organization in Organization.objects.all():
            admins = organization.admin.user_set.filter(is_active=True)
            self.assertEqual(organization.active_admins, admins.count())

    def test_people_join_and_leave_while_they_are_deactivated(self):
        groups = [organization.admin for organization in self.organizations]

        def join_and_leave(user):
            for number in range(self.ROUNDS):
                user.groups.add(groups[number % 3])
                user.groups.remove(groups[(number + 1) % 3])

        def switch(users):
            for number in range(self.ROUNDS):
                for user in users:
                    user.refresh_from_db()
                    user.is_active = number % 2 == 1
                    user.save()

        first, second, third, fourth = self.people
        run_together(
            lambda: join_and_leave(first),
            lambda: join_and_leave(second),
            lambda: join_and_leave(third),
            lambda: switch([User.objects.get(pk=first.pk)]),
            lambda: switch([User.objects.get(pk=second.pk), fourth]),
        )
        self.assert_counted()

    def test_an_admin_is_activated_while_they_are_removed(self):
        """Neither transaction sees what the other one does, until it is committed."""
        ada = create_user("ada", is_active=False, admin_of=[self.organizations[0]])

        def remove():
            try:
                execute("DELETE FROM orgadmin_user_groups WHERE user_id = %s", ada.pk)
            finally:
                connection.close()

        removing = Thread(target=remove)
        with transaction.atomic():
            models.QuerySet.update(User.objects.filter(pk=ada.pk), is_active=True)
            removing.start()
            while removing.is_alive() and not is_anyone_waiting():
                time.sleep(0.01)
        removing.join()
        self.assert_counted()

    def test_two_admins_of_one_organization_join_at_once(self):
        group = self.organizations[0].admin

        def join(user):
            with transaction.atomic():
                user.groups.add(group)

        run_together(*[lambda user=user: join(user) for user in self.people])
        self.assert_counted()

    def test_contacts_are_deleted_while_organizations_are_edited(self):
        def edit():
            for number in range(self.ROUNDS):
                for organization in Organization.objects.all():
                    with transaction.atomic():
                        organization.phone = str(number)
                        organization.save()
                        for contact in organization.contacts.all():
                            contact.phone = str(number)
                            contact.save()

        def replace():
            for _ in range(self.ROUNDS):
                Contact.objects.bulk_create(
                    Contact(organization=organization, name="Ada")
                    for organization in self.organizations
                )
                Contact.objects.filter(name="Ada").delete()

        # If an edited contact was deleted in the meantime, saving inserts it.
        run_together(edit, replace)
