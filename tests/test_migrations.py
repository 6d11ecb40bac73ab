import io
import os
import random
import signal
import time
from contextlib import redirect_stdout
from functools import partialmethod
from unittest import mock

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import TransactionTestCase

from orgadmin import operations
from orgadmin.models import (
    MembershipEvent,
    Organization,
    OrganizationGroupObjectPermission,
    User,
)
from orgadmin.records.doctor import examine

from .factories import create_organization, create_user
from .scratch import scratch_database
from .test_models import expected_grants, grants_of

KILLS = int(os.environ.get("KILLS", 3))
COUNT = 5_000  # organizations while there are kills
DATA_STEPS = {  # and what is before each
    "0003_create_admin_groups": "0002_organization_admin",
    "0006_create_reviewer_groups": "0005_organization_reviewer",
    "0009_grant_permissions": "0008_organization_admin_is_not_reviewer",
}
IMPORT = "from tests.test_migrations import *\n"  # for processes
BEFORE, ADMIN_CREATED, LATEST = "0001_initial", "0003_create_admin_groups", None
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
    12: "Widget Company 11",  # meets the name that the one above gets
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


def migrate(target=LATEST, **options):
    """Migrate the app; return what was printed."""
    out = io.StringIO()
    with redirect_stdout(out):
        call_command(
            "migrate", "orgadmin", *([target] if target else []), verbosity=0, **options
        )
    return out.getvalue()


def models_at(target):
    return (
        MigrationExecutor(connection)
        .loader.project_state(("orgadmin", target))
        .apps.get_model
    )


def choose_names():
    """Return {id: name} with equal names and long ones."""
    return {
        pk: f"Name {pk % 900}".ljust(60 if pk % 4 == 0 else 0, "x")
        for pk in range(1, COUNT + 1)
    }


def choose_taken_names():
    """Return names that some of these organizations' groups would get."""
    numbered = [
        (name[:50], number)
        for pk, name in choose_names().items()
        if pk % 7 == 0
        for number in ("", f" {pk}")
    ]
    return {
        f"{base}{number} {suffix}"
        for base, number in numbered
        for suffix in ("Admin", "Reviewer")
    }


def fill():
    get_model = models_at("0002_organization_admin")
    organization, group = (
        get_model("orgadmin", "Organization"),
        get_model("auth", "Group"),
    )
    organization.objects.bulk_create(
        organization(pk=pk, name=name) for pk, name in choose_names().items()
    )
    group.objects.bulk_create(group(name=name) for name in choose_taken_names())


def reach(step):
    migrate(DATA_STEPS[step])
    print("begin", flush=True)
    migrate(step)
    print("end", flush=True)


def tell_whether_halfway():
    made = Group.objects.exclude(name__in=choose_taken_names()).count()
    grants = OrganizationGroupObjectPermission.objects.count()
    print(made % COUNT > 0 or 0 < grants < 5 * COUNT)


def tell_state():
    get_model = models_at("0009_grant_permissions")
    grants = get_model("orgadmin", "OrganizationGroupObjectPermission").objects
    print(
        *get_model("orgadmin", "Organization").objects.values_list(
            "pk", "admin__name", "reviewer__name"
        ),
        sep="\n",
    )
    print(
        *grants.values_list("content_object", "group__name", "permission__codename"),
        sep="\n",
    )
    print(*Group.objects.values_list("name"), sep="\n")


class LedgerAndHistoryTests(TransactionTestCase):
    """They begin with what there is, and the way back and forth again tells it once."""

    def test_begin_with_a_row_for_each_membership_and_each_organization(self):
        self.addCleanup(migrate)
        acme, anna = create_organization("Acme"), create_user()
        migrate("0011_sign_in_attempt")
        anna.groups.through.objects.create(
            user=anna, group=acme.admin
        )  # models of now, tables of then
        for _ in range(2):
            migrate()
            [event] = MembershipEvent.objects.members_on()
            self.assertEqual(
                (event.event, event.user_name, event.organization_name),
                ("found", "anna", "Acme"),
            )
            self.assertEqual(acme.history.get().name, "Acme")
            self.assertFalse([issue for issue in examine() if issue.is_error])
            for before, step in (("0014", "0015"), ("0012", "0013")):
                migrate(before, fake=True)
                migrate(
                    step
                )  # was killed after it was committed and before it was recorded: done again
                migrate(fake=True)
            self.assertEqual(
                (MembershipEvent.objects.count(), acme.history.count()), (1, 1)
            )
            migrate("0014_membership_event")
            self.assertFalse(MembershipEvent.objects.exists())
            migrate("0012_organization_history")


def write_or_stop(operation, write, batches, filled, rows):
    """Write as PopulateGroups does, until there is no next batch: then stop as Ctrl-C."""
    if next(batches, None) is None:
        raise KeyboardInterrupt
    write(operation, filled, rows)


class SeedPathTests(TransactionTestCase):
    """A live table gets its groups, loses them, and gets them again."""

    def setUp(self):
        self.addCleanup(migrate)
        migrate(BEFORE)
        get_model = models_at(BEFORE)
        Group.objects.bulk_create(Group(name=name) for name in TAKEN)
        get_model("orgadmin", "Organization").objects.bulk_create(
            get_model("orgadmin", "Organization")(
                pk=pk, name=name, reference=f"R{pk}", notes="n"
            )
            for pk, name in NAMES.items()
        )
        self.rows = self.read_rows()

    def read_rows(self):
        return list(
            models_at(BEFORE)("orgadmin", "Organization")
            .objects.order_by("pk")
            .values(*COLUMNS)
        )

    def read_groups(self):
        organizations = Organization.objects.order_by("pk").select_related(
            "admin", "reviewer"
        )
        return {
            organization.pk: (organization.admin.name, organization.reviewer.name)
            for organization in organizations
        }

    def assert_complete(self):
        self.assertEqual(self.read_rows(), self.rows)
        groups = self.read_groups()
        self.assertEqual({pk: names[0] for pk, names in groups.items()}, ADMIN_GROUPS)
        self.assertEqual(groups[11][1], "Widget Company 11 Reviewer")
        self.assertEqual(Group.objects.count(), 2 * len(NAMES) + len(TAKEN))
        for organization in Organization.objects.all():
            self.assertEqual(grants_of(organization), expected_grants(organization))

    def test_forwards_backwards_forwards(self):
        migrate()
        self.assert_complete()
        user = User.objects.create(username="anna")
        first = Organization.objects.get(pk=10)
        user.groups.add(first.admin, first.reviewer, Group.objects.get(name="Friends"))
        printed = migrate(BEFORE)
        self.assertIn(
            "Deleting the admin groups of 9 rows of orgadmin.Organization ends"
            " 1 membership.",
            printed,
        )
        self.assertIn(
            "Deleting the reviewer groups of 9 rows of orgadmin.Organization ends"
            " 1 membership.",
            printed,
        )
        self.assertEqual(self.read_rows(), self.rows)
        self.assertEqual(set(Group.objects.values_list("name", flat=True)), TAKEN)
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
        self.assertEqual(Group.objects.count(), len(TAKEN))

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
        write = operations.PopulateGroups._write
        for committed in range(4):
            interrupted = partialmethod(write_or_stop, write, iter(range(committed)))
            with (
                self.subTest(committed=committed),
                mock.patch.object(operations, "BATCH", 2),
            ):
                with (
                    mock.patch.object(operations.PopulateGroups, "_write", interrupted),
                    self.assertRaises(KeyboardInterrupt),
                ):
                    migrate(ADMIN_CREATED)
                self.assertEqual(Group.objects.count(), len(TAKEN) + 2 * committed)
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
    """Real SIGKILLs at random moments of the data steps, in a database of its own."""

    def test_ends_with_the_groups_and_grants_of_an_undisturbed_run(self):
        choice, kills, halfway = random.Random(1), 0, 0
        with scratch_database() as scratch:
            scratch.migrate("orgadmin", "0002")
            scratch.run(IMPORT + "fill()")
            seconds = [self.run_step(scratch, step) for step in DATA_STEPS]
            expected = self.read_state(scratch)
            while (
                kills < KILLS or not halfway
            ):  # on a busy machine all may come too early, or too late
                scratch.migrate("orgadmin", "0002")
                for step, undisturbed in zip(DATA_STEPS, seconds):
                    if (
                        self.run_step(
                            scratch, step, kill_after=choice.uniform(0, undisturbed)
                        )
                        is None
                    ):
                        kills += 1
                        halfway += "True" in scratch.run(
                            IMPORT + "tell_whether_halfway()"
                        )
                scratch.migrate("orgadmin", "0009")
                self.assertEqual(sorted(self.read_state(scratch) ^ expected)[:10], [])

    def run_step(self, scratch, step, kill_after=None):
        """Do what is before a data step, then the step; return its seconds, None where it was killed."""
        process = scratch.start(IMPORT + f"reach({step!r})")
        self.assertEqual(process.stdout.readline(), "begin\n")
        start = time.perf_counter()
        if kill_after is None:
            process.stdout.readline()
        else:
            time.sleep(kill_after)
            process.kill()
        seconds, (_, err) = time.perf_counter() - start, process.communicate()
        self.assertEqual(err, "")
        return None if process.returncode == -signal.SIGKILL else seconds

    def read_state(self, scratch):
        return set(scratch.run(IMPORT + "tell_state()").splitlines())


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
