import io
import signal
import time
from contextlib import redirect_stdout
from unittest import mock

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import TransactionTestCase

from orgadmin import operations
from orgadmin.doctor import examine
from orgadmin.models import MembershipEvent, Organization, OrganizationGroupObjectPermission, User

from .factories import create_organization, create_user
from .scratch import scratch_database
from .test_models import expected_grants, grants_of

BEFORE, ADMIN_CREATED, LATEST = "0001_initial", "0003_create_admin_groups", None
COLUMNS = ["pk", "name", "reference", "website", "email", "phone", "address", "tax_id", "notes"]
NAMES = {
    10: "Widget Company",
    11: "Widget Company",
    12: "Widget Company 11",  # meets the name that the one above gets
    13: "Taken",
    14: "Taken",
    15: "  ",
    16: "x" * 60,
    17: "x" * 70,
    18: "\u3000 Spaced \u00a0",
}
ADMIN_GROUPS = {
    10: "Widget Company Admin",
    11: "Widget Company 11 Admin",
    12: "Widget Company 11 12 Admin",
    13: "Taken 13 1 Admin",
    14: "Taken 14 Admin",
    15: "Organization Admin",
    16: "x" * 50 + " Admin",
    17: "x" * 50 + " 17 Admin",
    18: "Spaced Admin",
}


def migrate(target=LATEST, **options):
    """Migrate the app; return what was printed."""
    out = io.StringIO()
    with redirect_stdout(out):
        call_command("migrate", "orgadmin", *([target] if target else []), verbosity=0, **options)
    return out.getvalue()


def models_at(target):
    return MigrationExecutor(connection).loader.project_state(("orgadmin", target)).apps.get_model


class LedgerAndHistoryTests(TransactionTestCase):
    """They begin with what there is, and the way back and forth again tells it once."""

    def test_begin_with_a_row_for_each_membership_and_each_organization(self):
        self.addCleanup(migrate)
        acme, anna = create_organization("Acme"), create_user()
        migrate("0011_sign_in_attempt")
        anna.groups.through.objects.create(user=anna, group=acme.admin)  # models of now, tables of then
        for _ in range(2):
            migrate()
            [event] = MembershipEvent.objects.members_on()
            self.assertEqual((event.event, event.user_name, event.organization_name), ("found", "anna", "Acme"))
            self.assertEqual(acme.history.get().name, "Acme")
            self.assertFalse([finding for finding in examine() if finding.error])
            migrate("0014_membership_event")
            self.assertFalse(MembershipEvent.objects.exists())
            migrate("0012_organization_history")


class SeedPathTests(TransactionTestCase):
    """A live table gets its groups, loses them, and gets them again."""

    def setUp(self):
        self.addCleanup(migrate)
        migrate(BEFORE)
        get_model = models_at(BEFORE)
        Group.objects.bulk_create(Group(name=name) for name in ("Taken Admin", "Taken 13 Admin", "Friends"))
        get_model("orgadmin", "Organization").objects.bulk_create(
            get_model("orgadmin", "Organization")(pk=pk, name=name, reference=f"R{pk}", notes="n")
            for pk, name in NAMES.items()
        )
        self.rows = self.read_rows()

    def read_rows(self):
        return list(models_at(BEFORE)("orgadmin", "Organization").objects.order_by("pk").values(*COLUMNS))

    def read_groups(self):
        organizations = Organization.objects.order_by("pk").select_related("admin", "reviewer")
        return {
            organization.pk: (organization.admin.name, organization.reviewer.name) for organization in organizations
        }

    def assert_complete(self):
        self.assertEqual(self.read_rows(), self.rows)
        groups = self.read_groups()
        self.assertEqual({pk: names[0] for pk, names in groups.items()}, ADMIN_GROUPS)
        self.assertEqual(groups[11][1], "Widget Company 11 Reviewer")
        self.assertEqual(Group.objects.count(), 2 * len(NAMES) + 3)
        for organization in Organization.objects.all():
            self.assertEqual(grants_of(organization), expected_grants(organization))

    def test_forwards_backwards_forwards(self):
        migrate()
        self.assert_complete()
        user = User.objects.create(username="anna")
        first = Organization.objects.get(pk=10)
        user.groups.add(first.admin, first.reviewer, Group.objects.get(name="Friends"))
        printed = migrate(BEFORE)
        self.assertIn("Deleting the admin groups of 9 rows of orgadmin.Organization ends 1 memberships.", printed)
        self.assertIn("Deleting the reviewer groups of 9 rows of orgadmin.Organization ends 1 memberships.", printed)
        self.assertEqual(self.read_rows(), self.rows)
        self.assertEqual(
            set(Group.objects.values_list("name", flat=True)), {"Taken Admin", "Taken 13 Admin", "Friends"}
        )
        self.assertEqual(list(user.groups.values_list("name", flat=True)), ["Friends"])
        self.assertFalse(OrganizationGroupObjectPermission.objects.exists())
        migrate()
        self.assert_complete()

    def test_backwards_deletes_what_the_field_points_at_whoever_made_it(self):
        migrate()
        organization = Organization.objects.get(pk=10)
        organization.name = "Renamed"
        organization.save()
        Group.objects.filter(pk=organization.reviewer_id).update(name="By hand")
        Organization.objects.create(name="Later")
        migrate(BEFORE)
        self.assertEqual(Group.objects.count(), 3)

    def test_backwards_stops_at_every_step(self):
        migrate()
        for target in ("0008", "0007", "0006", "0005", "0004", "0003", "0002", "0001"):
            migrate(target)
            self.assertEqual(self.read_rows(), self.rows)
        for target in ("0002", "0003", "0004", "0005", "0006", "0007", "0008", None):
            migrate(target)
        self.assert_complete()

    def test_fake_changes_nothing_but_the_record(self):
        migrate(ADMIN_CREATED)
        before = set(Group.objects.values_list("name", flat=True))
        migrate("0002", fake=True)
        migrate(ADMIN_CREATED, fake=True)
        self.assertEqual(set(Group.objects.values_list("name", flat=True)), before)
        migrate()
        self.assert_complete()

    def test_a_data_step_that_is_interrupted_is_run_again(self):
        for failing in range(1, 5):
            calls = []

            def point(self, rows, pairs, failing=failing, calls=calls, real=operations.PopulateGroups._point):
                calls.append(pairs)
                if len(calls) == failing:
                    raise KeyboardInterrupt
                return real(self, rows, pairs)

            with self.subTest(failing=failing), mock.patch.object(operations, "BATCH", 2):
                with mock.patch.object(operations.PopulateGroups, "_point", point):
                    with self.assertRaises(KeyboardInterrupt):
                        migrate(ADMIN_CREATED)
                self.assertEqual(Group.objects.count(), 3 + 2 * (failing - 1))
                migrate()
                self.assert_complete()
                migrate(BEFORE)

    def test_a_group_made_meanwhile_by_a_newer_release_is_kept(self):
        migrate("0002")
        get_model = models_at("0002_organization_admin")
        group = get_model("auth", "Group").objects.create(name="Widget Company Admin")
        get_model("orgadmin", "Organization").objects.filter(pk=11).update(admin=group)
        migrate()
        self.assertEqual(self.read_groups()[11][0], "Widget Company Admin")
        self.assertEqual(self.read_groups()[10][0], "Widget Company 10 Admin")


class KilledDataStepTests(TransactionTestCase):
    """A real SIGKILL in the middle of the data step, in a database of its own."""

    FILL = """
from django.db.migrations.executor import MigrationExecutor
from django.db import connection
get = MigrationExecutor(connection).loader.project_state(("orgadmin", "0001_initial")).apps.get_model
model = get("orgadmin", "Organization")
model.objects.bulk_create(model(name=f"Name {number % 9000}") for number in range(20_000))
"""
    COUNT = "from django.contrib.auth.models import Group; print(Group.objects.count())"
    NAMES = """
from orgadmin.models import Organization
print(list(Organization.objects.order_by("pk").values_list("pk", "admin__name", "reviewer__name")))
print(len(Organization.objects.all()), Organization.group_grants.rel.related_model.objects.count())
"""

    def test_ends_with_the_names_of_an_undisturbed_run(self):
        results = []
        for kill in (False, *[True] * 5):  # on a busy machine a kill may come too late
            with scratch_database() as scratch:
                scratch.migrate("orgadmin", "0002")
                scratch.run(self.FILL)
                if kill and not self.kill_in_the_middle(scratch):
                    continue
                scratch.migrate()
                results.append(scratch.run(self.NAMES))
            if kill:
                break
        self.assertEqual(results[0], results[1])
        self.assertIn("20000 100000", results[0])

    def kill_in_the_middle(self, scratch):
        process = scratch.start("manage.py", "migrate", "orgadmin", "0003")
        time.sleep(0.2)
        while int(scratch.run(self.COUNT)) == 0:
            if process.poll() is not None:
                return False
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return int(scratch.run(self.COUNT)) < 20_000


class FreshDatabaseTests(TransactionTestCase):
    def test_a_fresh_database_gets_permissions_and_works(self):
        with scratch_database() as scratch:
            scratch.migrate()
            out = scratch.run(
                "from orgadmin.models import Organization\n"
                "print(Organization.objects.create(name='Acme').group_grants.count())"
            )
        self.assertEqual(out, "5\n")

    def test_models_and_migrations_agree(self):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)
