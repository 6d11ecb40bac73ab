"""How long people hold roles, which lists use for filters, and its triggers."""

import io
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import skipUnless

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models import F
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.utils import timezone

from orgadmin.access.roles import ROLES
from orgadmin.models import Membership, Organization, RoleHolder, User
from orgadmin.operations import UpdateRoleHolders
from orgadmin.people.archive import archive, restore
from orgadmin.people.ends import loses_last_admin
from orgadmin.people.expiry import remove_ended_memberships
from orgadmin.people.offboarding import offboard
from orgadmin.records.doctor.role_holder_check import NEVER, find_wrong_rows

from .factories import create_organization, create_superuser, create_user
from .migrating import migrate
from .migration_case import MigrationCase
from .together import run_together

SOON = datetime(2100, 1, 1, tzinfo=UTC)
LATER = datetime(2200, 1, 1, tzinfo=UTC)


def set_end(user, group, end):
    Membership.objects.filter(user=user, group=group).update(ends_at=end)


def read_holders():
    """Return {username: (end as admin, end as reviewer)}."""
    rows = RoleHolder.objects.values_list(
        "user__username", "admin_until", "reviewer_until"
    )
    return {name: (admin, reviewer) for name, admin, reviewer in rows}


def find_all_wrong():
    return find_wrong_rows(User.objects.values_list("pk", flat=True))


class RoleHolderTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.other = create_organization("Other")
        self.mary = create_user("mary")
        self.john = create_user("john")

    def assert_holders(self, **expected):
        self.assertEqual(read_holders(), expected)
        self.assertEqual(find_all_wrong(), [])

    def test_follows_memberships(self):
        self.assert_holders()
        self.mary.groups.add(self.acme.admin, self.other.reviewer)
        self.john.groups.add(self.other.reviewer)
        self.assert_holders(mary=(NEVER, NEVER), john=(None, NEVER))
        self.mary.groups.remove(self.acme.admin)
        self.assert_holders(mary=(None, NEVER), john=(None, NEVER))
        self.other.reviewer.user_set.clear()
        self.assert_holders()

    def test_has_the_latest_end(self):
        self.mary.groups.add(self.acme.admin, self.other.admin)
        set_end(self.mary, self.acme.admin, SOON)
        self.assert_holders(mary=(NEVER, None))
        set_end(self.mary, self.other.admin, LATER)
        self.assert_holders(mary=(LATER, None))
        self.mary.groups.remove(self.other.admin)
        self.assert_holders(mary=(SOON, None))
        set_end(self.mary, self.acme.admin, None)
        self.assert_holders(mary=(NEVER, None))

    def test_memberships_that_have_ended_do_not_count(self):
        self.mary.groups.add(self.acme.admin)
        set_end(self.mary, self.acme.admin, timezone.now() - timedelta(minutes=1))
        self.assertFalse(RoleHolder.objects.current().exists())
        remove_ended_memberships()
        self.assert_holders()

    def test_other_groups_do_not_count(self):
        group = self.acme.admin
        self.mary.groups.add(group)
        self.acme.delete()
        self.assert_holders()

    def test_archived_organizations_do_not_count(self):
        root = create_superuser()
        self.mary.groups.add(self.acme.admin, self.other.reviewer)
        self.john.groups.add(self.acme.reviewer)
        archive([self.acme.pk], actor=root)
        self.assert_holders(mary=(None, NEVER))
        restore([self.acme.pk], actor=root)
        self.assert_holders(mary=(NEVER, NEVER), john=(None, NEVER))

    def test_follows_deletions(self):
        self.mary.groups.add(self.acme.admin)
        self.john.groups.add(self.acme.admin, self.other.admin)
        self.mary.delete()
        self.assert_holders(john=(NEVER, None))
        Organization.objects.all().delete()
        self.assert_holders()

    def test_follows_offboarding(self):
        self.mary.groups.add(self.acme.admin)
        offboard(self.mary, actor=create_superuser(), confirmed=[self.acme.pk])
        self.assert_holders()

    def test_knows_who_is_active(self):
        self.mary.groups.add(self.acme.admin)
        self.assertFalse(RoleHolder.objects.get().may_be_inactive)
        User.objects.update(is_active=False)
        self.assertTrue(RoleHolder.objects.get().may_be_inactive)
        self.john.refresh_from_db()
        self.john.groups.add(self.acme.admin)
        self.assertEqual(RoleHolder.objects.filter(may_be_inactive=True).count(), 2)
        User.objects.update(is_active=True)
        self.assertFalse(RoleHolder.objects.filter(may_be_inactive=True).exists())

    def test_people_who_get_a_role_back_may_be_inactive(self):
        root = create_superuser()
        self.mary.groups.add(self.acme.admin)
        archive([self.acme.pk], actor=root)
        User.objects.filter(username="mary").update(is_active=False)
        restore([self.acme.pk], actor=root)
        self.assertTrue(RoleHolder.objects.get().may_be_inactive)
        self.assert_holders(mary=(NEVER, None))

    def test_fixtures_can_have_everything_in_any_order(self):
        self.mary.groups.add(self.acme.admin)
        self.john.groups.add(self.other.reviewer)
        set_end(self.mary, self.acme.admin, SOON)
        folder = self.enterContext(tempfile.TemporaryDirectory())
        fixtures = []
        for label in ("auth.group", "orgadmin.roleholder", "orgadmin.user"):
            fixtures.append(str(Path(folder, f"{label}.json")))
            call_command("dumpdata", label, output=fixtures[-1], verbosity=0)
        fixtures.append(str(Path(folder, "organizations.json")))
        call_command(
            "dumpdata", "orgadmin.organization", output=fixtures[-1], verbosity=0
        )
        Organization.objects.all().delete()
        User.objects.all().delete()
        self.assert_holders()
        call_command("loaddata", *fixtures, verbosity=0)
        self.assertEqual(find_all_wrong(), [])
        self.assertEqual(read_holders().keys(), {"mary", "john"})


class EndOfAdminsTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.mary = create_user("mary")
        self.john = create_user("john")

    def assert_end(self, expected):
        self.assertEqual(Organization.objects.get().admins_end_at, expected)

    def test_is_the_last_end_of_active_admins(self):
        self.assert_end(None)
        self.mary.groups.add(self.acme.admin)
        self.assert_end(None)
        set_end(self.mary, self.acme.admin, SOON)
        self.assert_end(SOON)
        self.john.groups.add(self.acme.admin)
        self.assert_end(None)
        set_end(self.john, self.acme.admin, LATER)
        self.assert_end(LATER)
        User.objects.filter(username="john").update(is_active=False)
        self.assert_end(SOON)
        User.objects.filter(username="john").update(is_active=True)
        self.assert_end(LATER)
        self.john.groups.clear()
        self.assert_end(SOON)
        self.mary.groups.clear()
        self.assert_end(None)

    def test_reviewers_do_not_count(self):
        self.mary.groups.add(self.acme.admin)
        set_end(self.mary, self.acme.admin, SOON)
        self.john.groups.add(self.acme.reviewer)
        self.assert_end(SOON)

    def test_is_what_the_filter_finds(self):
        self.mary.groups.add(self.acme.admin)
        now = timezone.now()
        for end, is_found in (
            (None, False),
            (now - timedelta(hours=1), False),
            (now + timedelta(hours=1), True),
            (now + timedelta(days=3), False),
        ):
            set_end(self.mary, self.acme.admin, end)
            ending = Organization.objects.filter(loses_last_admin(now + timedelta(1)))
            self.assertEqual(ending.exists(), is_found, end)


class DoctorTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.mary = create_user("mary")
        self.john = create_user("john", is_active=False)
        self.mary.groups.add(self.acme.admin)
        set_end(self.mary, self.acme.admin, SOON)
        self.john.groups.add(self.acme.reviewer)

    def run_doctor(self, **options):
        output = io.StringIO()
        with suppress(SystemExit):
            call_command("doctor", stdout=output, **options)
        return output.getvalue()

    def test_finds_and_repairs_wrong_rows(self):
        self.assertNotIn("wrong roles", self.run_doctor())
        before = read_holders()
        RoleHolder.objects.filter(pk=self.mary.pk).delete()
        RoleHolder.objects.update(may_be_inactive=False)
        RoleHolder.objects.create(
            user=create_user("eve"), admin_until=NEVER, may_be_inactive=False
        )
        found = self.run_doctor()
        for name in ("mary", "john", "eve"):
            self.assertIn(f"wrong roles for {name}", found)
        self.run_doctor(fix=True)
        self.assertEqual(read_holders(), before)
        self.assertNotIn("wrong roles", self.run_doctor())
        self.assertTrue(RoleHolder.objects.get(pk=self.john.pk).may_be_inactive)

    def test_finds_and_repairs_a_wrong_end(self):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orgadmin_organization SET admins_end_at = NULL")
        self.assertIn("wrong end of the last admin's access", self.run_doctor())
        self.run_doctor(fix=True)
        self.assertEqual(Organization.objects.get().admins_end_at, SOON)


class UpgradeTests(MigrationCase):
    def test_rows_from_before_are_filled(self):
        acme = create_organization("Acme")
        other = create_organization("Other")
        root = create_superuser()
        mary = create_user("mary")
        john = create_user("john", is_active=False)
        mary.groups.add(acme.admin, other.admin)
        john.groups.add(acme.reviewer)
        set_end(mary, acme.admin, SOON)
        archive([other.pk], actor=root)
        before = read_holders()
        self.assertEqual(before, {"mary": (SOON, None), "john": (None, NEVER)})
        migrate("0080")
        migrate()
        self.assertEqual(read_holders(), before)
        self.assertEqual(find_all_wrong(), [])
        self.assertTrue(RoleHolder.objects.get(pk=john.pk).may_be_inactive)
        ends = Organization.objects.values_list("name", "admins_end_at")
        self.assertEqual(dict(ends), {"Acme": SOON, "Other": None})
        # The triggers work again.
        mary.groups.clear()
        self.assertEqual(read_holders(), {"john": (None, NEVER)})


# How many rows of a table this transaction has read.
ROWS_READ = """
    SELECT seq_tup_read + idx_tup_fetch
    FROM pg_stat_xact_user_tables
    WHERE relname = %s
"""


class UpdateRoleHoldersTests(TransactionTestCase):
    """After a migration with `UpdateRoleHolders`, the triggers record a new role."""

    BEFORE = [role.key for role in ROLES]
    AFTER = [*BEFORE, "visitor"]

    def setUp(self):
        self.acme = create_organization("Acme")
        self.mary = create_user("mary")
        self.john = create_user("john", reviewer_of=[self.acme])
        self.visitors = Group.objects.create(name="Acme Visitor")
        time = "timestamptz" if connection.vendor == "postgresql" else "datetime"
        self.execute(f"ALTER TABLE orgadmin_roleholder ADD COLUMN visitor_until {time}")
        self.execute("ALTER TABLE orgadmin_organization ADD COLUMN visitor_id integer")
        self.addCleanup(self.drop_columns)
        self.apply()

    def drop_columns(self):
        self.apply(is_reversed=True)
        self.execute("ALTER TABLE orgadmin_roleholder DROP COLUMN visitor_until")
        self.execute("ALTER TABLE orgadmin_organization DROP COLUMN visitor_id")

    def execute(self, statement, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def apply(self, *, is_reversed=False):
        operation = UpdateRoleHolders(self.AFTER, before=self.BEFORE)
        with connection.schema_editor() as editor:
            if is_reversed:
                operation.reverse_code(None, editor)
            else:
                operation.code(None, editor)

    def read_roles(self):
        return self.execute("""
            SELECT username, visitor_until IS NOT NULL, reviewer_until IS NOT NULL
            FROM orgadmin_roleholder
            JOIN orgadmin_user ON orgadmin_user.id = user_id
            ORDER BY username
        """)

    def test_records_the_new_role_like_the_others(self):
        john = ("john", False, True)
        self.mary.groups.add(self.visitors)
        self.assertEqual(self.read_roles(), [john])
        self.execute(
            f"UPDATE orgadmin_organization SET visitor_id = {self.visitors.pk}"
        )
        self.assertEqual(self.read_roles(), [john, ("mary", True, False)])
        self.mary.groups.add(self.acme.reviewer)
        self.assertEqual(self.read_roles(), [john, ("mary", True, True)])
        self.mary.groups.remove(self.acme.reviewer)
        self.john.groups.add(self.visitors)
        visitors = [("john", True, True), ("mary", True, False)]
        self.assertEqual(self.read_roles(), visitors)
        set_end(self.mary, self.visitors, SOON)
        end = connection.ops.adapt_datetimefield_value(SOON)
        found = self.execute(
            "SELECT user_id FROM orgadmin_roleholder WHERE visitor_until = %s", end
        )
        self.assertEqual(found, [(self.mary.pk,)])
        self.john.groups.clear()
        self.assertEqual(self.read_roles(), [("mary", True, False)])
        archive([self.acme.pk], actor=None)
        self.assertEqual(self.read_roles(), [])
        restore([self.acme.pk], actor=create_superuser())
        self.assertEqual(self.read_roles(), [("mary", True, False)])
        self.execute("UPDATE orgadmin_organization SET visitor_id = NULL")
        self.assertEqual(self.read_roles(), [])

    def test_records_the_previous_roles_if_it_is_reversed(self):
        self.apply(is_reversed=True)
        self.mary.groups.add(self.visitors)
        self.execute(
            f"UPDATE orgadmin_organization SET visitor_id = {self.visitors.pk}"
        )
        self.assertEqual(self.read_roles(), [("john", False, True)])
        self.assertEqual(find_all_wrong(), [])


class RolesTests(SimpleTestCase):
    def test_role_holder_has_a_field_for_each_role(self):
        fields = {field.name for field in RoleHolder._meta.fields}
        expected = {f"{role.key}_until" for role in ROLES}
        self.assertEqual(fields - {"user", "may_be_inactive"}, expected)

    def test_migrations_record_all_roles(self):
        # Migration 0082 records these roles.
        recorded = ["admin", "reviewer"]
        graph = MigrationLoader(None).graph
        [last] = graph.leaf_nodes("orgadmin")
        for key in graph.forwards_plan(last):
            for operation in graph.nodes[key].operations:
                if isinstance(operation, UpdateRoleHolders):
                    self.assertEqual([*operation.before], recorded)
                    recorded = [*operation.names]
        self.assertEqual(
            recorded,
            [role.key for role in ROLES],
            "Write a migration with UpdateRoleHolders: docs/changing.md shows how.",
        )


@skipUnless(connection.vendor == "postgresql", "SQLite has no such statistics.")
class BulkLoadTests(TransactionTestCase):
    """Many rows that are not committed yet, while PostgreSQL counts the others."""

    def count_rows_read(self):
        total = 0
        with connection.cursor() as cursor:
            for table in ("orgadmin_organization", "orgadmin_user_groups"):
                cursor.execute(ROWS_READ, [table])
                total += cursor.fetchone()[0]
        return total

    def vacuum(self):
        """Make PostgreSQL record how many rows the tables have, without our rows."""
        other = connection.copy()
        self.addCleanup(other.close)
        with other.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")

    def test_adding_a_member_does_not_read_a_table_again_for_each_row(self):
        mary = create_user("mary")
        with transaction.atomic():
            loaded = Organization.objects.bulk_create(
                Organization(name=f"Number {number}") for number in range(3_000)
            )
            self.vacuum()
            for role in ("admin", "reviewer"):
                before = self.count_rows_read()
                mary.groups.add(getattr(loaded[7], role))
                # A query may read a whole table, but not again and again.
                self.assertLess(self.count_rows_read() - before, 5 * 3_000, role)
        self.assertEqual(find_all_wrong(), [])


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time.")
class RaceTests(TransactionTestCase):
    """Simultaneous changes are kept, and there are no deadlocks."""

    ROUNDS = 20

    def setUp(self):
        self.root = create_superuser()
        self.organizations = [create_organization(f"Acme {n}") for n in range(3)]
        self.people = [create_user(f"user{n}") for n in range(3)]

    def test_rows_are_right_in_the_end(self):
        def join_and_leave(user, offset):
            for number in range(self.ROUNDS):
                organization = self.organizations[(number + offset) % 3]
                groups = [organization.admin, organization.reviewer]
                user.groups.add(groups[number % 2])
                with transaction.atomic():
                    # As all code does: people first, then their memberships.
                    User.objects.select_for_update(no_key=True).get(pk=user.pk)
                    end = [None, SOON, LATER][number % 3]
                    Membership.objects.filter(user=user).update(ends_at=end)
                user.groups.remove(groups[(number + 1) % 2])

        def archive_and_restore(organization):
            for _ in range(self.ROUNDS):
                archive([organization.pk], actor=None)
                restore([organization.pk], actor=self.root)

        def switch(user):
            for number in range(self.ROUNDS):
                user.refresh_from_db()
                user.is_active = number % 2 == 1
                user.save()

        run_together(
            *[
                lambda user=user, n=n: join_and_leave(user, n)
                for n, user in enumerate(self.people)
            ],
            lambda: archive_and_restore(self.organizations[0]),
            lambda: archive_and_restore(self.organizations[1]),
            lambda: switch(User.objects.get(pk=self.people[0].pk)),
        )
        self.assertEqual(find_all_wrong(), [])
        for organization in Organization.objects.all():
            ends = Membership.objects.filter(
                group=F("group__administrators_of__admin"),
                group__administrators_of=organization,
                user__is_active=True,
            ).values_list("ends_at", flat=True)
            expected = max(ends) if ends and None not in ends else None
            self.assertEqual(organization.admins_end_at, expected)
