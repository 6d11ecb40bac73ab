import os
import random
import signal
import time
from functools import partialmethod
from unittest import mock

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import TransactionTestCase

from orgadmin.access.roles import ROLES, codename
from orgadmin.models import (
    MembershipEvent,
    Organization,
    OrganizationGroupObjectPermission,
    User,
)
from orgadmin.operations import required_relation
from orgadmin.records.doctor.doctor import examine_organizations
from tests.factories import create_organization, create_user
from tests.migrating import DATA_STEPS, migrate, models_at
from tests.migration_case import MigrationCase
from tests.scratch import scratch_database
from tests.test_models import grants_of

KILLS = int(os.environ.get("KILLS", 3))

# What a process runs begins with this.
IMPORT = "from tests.migrating import *\n"

BEFORE = "0001_initial"
ADMIN_CREATED = "0003_create_admin_groups"
# The path ends here. The steps after it are tested by the tests of all migrations.
COMPLETE = "0009_grant_permissions"

ROLE_FIELDS = ["admin", "reviewer"]
# {role: codenames of its permissions} at the end of the path, and today
PERMISSIONS_AT_THE_END = {
    "admin": {
        "view_organization",
        "change_organization",
        "view_confidential_organization",
        "manage_members_organization",
    },
    "reviewer": {"view_organization"},
}
PERMISSIONS_TODAY = {
    role.key: {codename(permission) for permission in role.permissions}
    for role in ROLES
}

COLUMNS = [
    "pk",
    "name",
    "reference",
    "website",
    "email",
    "phone",
    "address",
    "tax_id",
    "notes",
]
NAMES = {
    10: "Widget Company",
    11: "Widget Company",
    # The group of the one before gets this name.
    12: "Widget Company 11",
    13: "Taken",
    14: "Taken",
    15: "  ",
    16: "x" * 60,
    17: "x" * 70,
    18: "\u3000 Spaced \u00a0",
}
TAKEN = {"Taken Admin", "Taken 13 Admin", "Taken 13 1 Admin", "Friends"}
ADMIN_GROUPS = {
    10: "Widget Company Admin",
    11: "Widget Company 11 Admin",
    12: "Widget Company 11 12 Admin",
    13: "Taken 13 2 Admin",
    14: "Taken 14 Admin",
    15: "Organization Admin",
    16: "x" * 50 + " Admin",
    17: "x" * 50 + " 17 Admin",
    18: "Spaced Admin",
}


def write_or_stop(operation, write, batches, filled, rows):
    """Write a batch, or stop like Ctrl-C when there is nothing left in `batches`."""
    if next(batches, None) is None:
        raise KeyboardInterrupt
    write(operation, filled, rows)


class LedgerAndHistoryTests(MigrationCase):
    """The membership log and the history begin with what exists."""

    def test_begin_with_a_row_for_each_membership_and_each_organization(self):
        acme = create_organization("Acme")
        anna = create_user()
        migrate("0011_sign_in_attempt")
        # The models of today, on the tables of that step.
        anna.groups.through.objects.create(user=anna, group=acme.admin)
        for _ in range(2):
            migrate()
            [event] = MembershipEvent.objects.find_joining_events_of_members()
            self.assertEqual(
                (event.event, event.user_name, event.organization_name),
                ("found", "anna", "Acme"),
            )
            self.assertEqual(acme.history.get().name, "Acme")
            self.assertFalse(
                [issue for issue in examine_organizations() if issue.is_error]
            )
            self.run_again("0014", "0015")
            self.run_again("0012", "0013")
            self.assertEqual(MembershipEvent.objects.count(), 1)
            self.assertEqual(acme.history.count(), 1)
            migrate("0014_membership_event")
            self.assertFalse(MembershipEvent.objects.exists())
            migrate("0012_organization_history")

    def run_again(self, before, step):
        """Run a step as after a kill between its commit and Django's record of it."""
        migrate(before, fake=True)
        migrate(step)
        migrate(fake=True)


class SeedPathTests(MigrationCase):
    """A live table gets its groups, loses them, and gets them again."""

    step = BEFORE

    def setUp(self):
        super().setUp()
        OldOrganization = models_at(BEFORE)("orgadmin", "Organization")
        Group.objects.bulk_create(Group(name=name) for name in TAKEN)
        OldOrganization.objects.bulk_create(
            OldOrganization(pk=pk, name=name, reference=f"R{pk}", notes="n")
            for pk, name in NAMES.items()
        )
        self.rows = self.read_rows()

    def read_rows(self):
        OldOrganization = models_at(BEFORE)("orgadmin", "Organization")
        return list(OldOrganization.objects.order_by("pk").values(*COLUMNS))

    def read_groups(self):
        names = Organization.objects.order_by("pk").values_list(
            "pk", "admin__name", "reviewer__name"
        )
        return {pk: (admin, reviewer) for pk, admin, reviewer in names}

    def read_group_names(self):
        return set(Group.objects.values_list("name", flat=True))

    def assert_complete(self, permissions=PERMISSIONS_AT_THE_END):
        self.assertEqual(self.read_rows(), self.rows)
        groups = self.read_groups()
        self.assertEqual({pk: names[0] for pk, names in groups.items()}, ADMIN_GROUPS)
        self.assertEqual(groups[11][1], "Widget Company 11 Reviewer")
        self.assertEqual(
            Group.objects.count(), len(permissions) * len(NAMES) + len(TAKEN)
        )
        # Later columns may not exist yet.
        for organization in Organization.objects.order_by("pk").only(*ROLE_FIELDS):
            expected = set()
            for role, codenames in permissions.items():
                group_id = getattr(organization, f"{role}_id")
                expected |= {(group_id, codename) for codename in codenames}
            self.assertEqual(grants_of(organization), expected)

    def test_forwards_backwards_forwards(self):
        migrate()
        self.assert_complete(PERMISSIONS_TODAY)
        user = User.objects.create(username="anna")
        first = Organization.objects.get(pk=10)
        user.groups.add(first.admin, first.reviewer, Group.objects.get(name="Friends"))
        printed = migrate(BEFORE)
        for role in ("admin", "reviewer"):
            self.assertIn(
                f"Deleting the {role} groups of 9 rows of orgadmin.Organization ends"
                " 1 membership.",
                printed,
            )
        self.assertEqual(self.read_rows(), self.rows)
        self.assertEqual(self.read_group_names(), TAKEN)
        self.assertEqual(list(user.groups.values_list("name", flat=True)), ["Friends"])
        self.assertFalse(OrganizationGroupObjectPermission.objects.exists())
        migrate()
        self.assert_complete(PERMISSIONS_TODAY)

    def test_backwards_deletes_the_groups_of_all_rows_however_they_were_made(self):
        migrate()
        organization = Organization.objects.get(pk=10)
        organization.name = "Renamed"
        organization.save()
        Group.objects.filter(pk=organization.reviewer_id).update(name="By hand")
        Organization.objects.create(name="Later")
        migrate(BEFORE)
        self.assertEqual(Group.objects.count(), len(TAKEN))

    def test_backwards_stops_at_every_step(self):
        migrate(COMPLETE)
        for target in ("0008", "0007", "0006", "0005", "0004", "0003", "0002", "0001"):
            migrate(target)
            self.assertEqual(self.read_rows(), self.rows)
        for target in ("0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009"):
            migrate(target)
        self.assert_complete()

    def test_fake_changes_nothing_but_the_record(self):
        migrate(ADMIN_CREATED)
        before = self.read_group_names()
        migrate("0002", fake=True)
        migrate(ADMIN_CREATED, fake=True)
        self.assertEqual(self.read_group_names(), before)
        migrate(COMPLETE)
        self.assert_complete()

    def test_a_data_step_that_is_interrupted_is_run_again(self):
        write = required_relation.PopulateGroups._save_group_ids
        for committed in range(4):
            interrupted = partialmethod(write_or_stop, write, iter(range(committed)))
            with (
                self.subTest(committed=committed),
                mock.patch.object(required_relation, "BATCH", 2),
            ):
                with (
                    mock.patch.object(
                        required_relation.PopulateGroups,
                        "_save_group_ids",
                        interrupted,
                    ),
                    self.assertRaises(KeyboardInterrupt),
                ):
                    migrate(ADMIN_CREATED)
                self.assertEqual(Group.objects.count(), len(TAKEN) + 2 * committed)
                migrate(COMPLETE)
                self.assert_complete()
                migrate(BEFORE)

    def test_a_group_that_a_newer_release_has_created_is_kept(self):
        migrate("0002")
        get_model = models_at("0002_organization_admin")
        group = get_model("auth", "Group").objects.create(name="Widget Company Admin")
        get_model("orgadmin", "Organization").objects.filter(pk=11).update(admin=group)
        migrate(COMPLETE)
        self.assertEqual(self.read_groups()[11][0], "Widget Company Admin")
        self.assertEqual(self.read_groups()[10][0], "Widget Company 10 Admin")


class KilledDataStepTests(TransactionTestCase):
    """Real SIGKILLs at random moments of the data steps, in a database of its own."""

    def test_ends_with_the_groups_and_permissions_of_an_undisturbed_run(self):
        with scratch_database(is_migrated=False) as scratch:
            scratch.migrate("orgadmin", "0002")
            scratch.run(IMPORT + "create_organizations()")
            seconds = {step: self.run_step(scratch, step) for step in DATA_STEPS}
            expected = self.read_state(scratch)
            choice = random.Random(1)
            kills = 0
            kills_halfway = 0
            # On a busy machine, all kills may come too early or too late.
            while kills < KILLS or not kills_halfway:
                scratch.migrate("orgadmin", "0002")
                for step in DATA_STEPS:
                    moment = choice.uniform(0, seconds[step])
                    if self.run_step(scratch, step, kill_after=moment) is None:
                        kills += 1
                        output = scratch.run(IMPORT + "print_whether_halfway()")
                        kills_halfway += "True" in output
                scratch.migrate("orgadmin", "0009")
                self.assertEqual(sorted(self.read_state(scratch) ^ expected)[:10], [])

    def run_step(self, scratch, step, kill_after=None):
        """Migrate to the step before a data step, then run that, and kill it.

        Returns the seconds that it took, or None if it was killed.
        """
        process = scratch.start(IMPORT + f"run_step({step!r})")
        self.assertEqual(process.stdout.readline(), "begin\n")
        start = time.perf_counter()
        if kill_after is None:
            process.stdout.readline()
        else:
            time.sleep(kill_after)
            process.kill()
        seconds = time.perf_counter() - start
        _output, errors = process.communicate()
        self.assertEqual(errors, "")
        if process.returncode == -signal.SIGKILL:
            return None
        return seconds

    def read_state(self, scratch):
        return set(scratch.run(IMPORT + "print_state()").splitlines())


class FreshDatabaseTests(TransactionTestCase):
    def test_a_fresh_database_gets_permissions_and_works(self):
        with scratch_database(is_migrated=False) as scratch:
            scratch.migrate()
            out = scratch.run(
                "from orgadmin.models import Organization\n"
                "print(Organization.objects.create(name='Acme').group_grants.count())"
            )
        self.assertEqual(out, "5\n")

    def test_models_and_migrations_agree(self):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)
