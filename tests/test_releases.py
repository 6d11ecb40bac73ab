"""Releases that are at work on one database while it is upgraded: each step leaves the release before it running."""

import itertools
import json
import random
import re
import time

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.test import TransactionTestCase

from orgadmin.models import Organization
from orgadmin.records.doctor import examine

from .scratch import scratch_database
from .test_migrations import migrate, models_at

EMPTY, FILLED, REQUIRED = (
    "0002_organization_admin",
    "0003_create_admin_groups",
    "0004_require_organization_admin",
)
WITHOUT, FILLING, REQUIRING = "0001_initial", EMPTY, REQUIRED  # the releases
ROWS, NAMES = (
    3_000,
    1_000,
)  # so few names that the releases and the migration race for those of the groups
SAVES, AFTERWARDS, PHONE = 500, 20, "1"
IMPORT = "from tests.test_releases import *\n"


class Release:
    """What a release saves; `step` names the migration that its models are of."""

    def __init__(self, step):
        get_model = models_at(step)
        self.organizations = get_model("orgadmin", "Organization").objects
        self.groups = get_model("auth", "Group").objects
        self.fills = step != WITHOUT

    def create(self, name):
        return self.save(lambda: self.organizations.model(name=name))

    def edit(self, pk):
        return self.save(
            self.organizations.select_for_update(no_key=True).filter(pk=pk).get,
            phone=PHONE,
        )

    def save(self, find, **values):
        """Save the row that `find` returns, with a group where it has none; begin again where its name is taken."""
        while True:
            try:
                with transaction.atomic():
                    row = find()
                    vars(row).update(values)
                    if self.fills and row.admin_id is None:
                        row.admin = self.groups.create(
                            name=self.find_free_name(row.name)
                        )
                    row.save()
                    return row.pk
            except IntegrityError:
                if not self.fills:
                    raise

    def find_free_name(self, name):
        names = (
            f"{name} {number} Admin" if number else f"{name} Admin"
            for number in itertools.count()
        )
        return next(
            name for name in names if not self.groups.filter(name=name).exists()
        )


def is_done(step):
    return MigrationRecorder.Migration.objects.filter(
        app="orgadmin", name=step
    ).exists()


def work(release, until):
    """Save new rows and old ones as a release does until a step is done, and a little longer; print the ids."""
    release, new, old, afterwards, choice = (
        Release(release),
        [],
        [],
        0,
        random.Random(release),
    )
    print("ready", flush=True)
    while len(new) < SAVES and afterwards < AFTERWARDS:
        new.append(release.create(f"Name {choice.randrange(NAMES)}"))
        old.append(choice.randint(1, ROWS))
        release.edit(old[-1])
        afterwards += is_done(until)
        time.sleep(0.005)
    print(json.dumps([new, old]))


def hold(name):
    """Save as the release that fills does, and commit only when the migration waits for us, or had the time to."""
    with transaction.atomic(), connection.cursor() as cursor:
        Release(FILLING).create(name)
        print("ready", flush=True)
        for _ in range(100 if connection.vendor == "postgresql" else 10):
            time.sleep(0.2)
            if connection.vendor == "postgresql":
                cursor.execute(
                    "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
                )
                if cursor.rowcount:
                    break


def fill():
    rows = Release(WITHOUT).organizations
    rows.bulk_create(
        rows.model(name=f"Name {number % NAMES}") for number in range(ROWS)
    )


def tell():
    print(
        json.dumps(
            list(
                Release(EMPTY)
                .organizations.order_by("pk")
                .values_list("pk", "name", "admin__name", "phone")
            )
        )
    )
    print(Group.objects.count())


class ReleasesAtOnceTests(TransactionTestCase):
    """Real processes of two releases, with a migration in between."""

    def prepare(self, scratch, code):
        scratch.migrate("guardian")
        scratch.migrate("orgadmin", EMPTY)
        scratch.run(IMPORT + code)

    def run_at_once(self, scratch, releases, step):
        """Migrate to a step while releases save; return the ids that each saved, [new, old]."""
        processes = [
            scratch.start(IMPORT + f"work({release!r}, {step!r})")
            for release in releases
        ]
        for process in processes:
            process.stdout.readline()
        processes.append(scratch.start("manage.py", "migrate", "orgadmin", step))
        outputs = [process.communicate() for process in processes]
        self.assertEqual(
            [
                (process.returncode, err)
                for process, (_, err) in zip(processes, outputs)
            ],
            [(0, "")] * len(processes),
        )
        return [json.loads(out) for out, _ in outputs[:-1]]

    def assert_complete(self, scratch, saved):
        rows, groups = map(json.loads, scratch.run(IMPORT + "tell()").splitlines())
        new, old = (set(itertools.chain(*ids)) for ids in zip(*saved))
        self.assertEqual({pk for pk, *_ in rows}, {*range(1, ROWS + 1)} | new)
        self.assertEqual({pk for pk, *_, phone in rows if phone}, old)
        self.assertEqual(
            groups,
            len({group for _, _, group, _ in rows}),
            "each has its own, and nobody else has one",
        )
        for pk, name, group, _ in rows:
            self.assertRegex(group, rf"^{name}( {pk})?( \d+)? Admin$")

    def test_the_release_before_and_the_next_save_while_groups_are_made(self):
        with scratch_database() as scratch:
            self.prepare(scratch, "fill()")
            saved = self.run_at_once(scratch, [WITHOUT, FILLING, FILLING], FILLED)
            scratch.migrate(
                "orgadmin", EMPTY, "--fake"
            )  # what the release before saved when all was filled
            scratch.migrate("orgadmin", REQUIRED)
            self.assert_complete(scratch, saved)

    def test_the_release_that_fills_and_the_next_save_while_the_group_becomes_required(
        self,
    ):
        with scratch_database() as scratch:
            self.prepare(scratch, "fill()")
            scratch.migrate("orgadmin", FILLED)
            self.assert_complete(
                scratch, self.run_at_once(scratch, [FILLING, REQUIRING], REQUIRED)
            )

    def test_a_name_that_somebody_takes_meanwhile_is_left_to_them(self):
        with scratch_database() as scratch:
            self.prepare(scratch, "Release(WITHOUT).create('Acme')")
            holder = scratch.start(IMPORT + "hold('Acme')")
            holder.stdout.readline()
            scratch.migrate("orgadmin", FILLED)
            self.assertEqual((holder.communicate()[1], holder.returncode), ("", 0))
            out = scratch.run(IMPORT + "tell()")
            self.assertEqual(
                out,
                '[[1, "Acme", "Acme 1 Admin", ""], [2, "Acme", "Acme Admin", ""]]\n2\n',
            )


class LateRowTests(TransactionTestCase):
    """What the release before saves when its time is over."""

    def setUp(self):
        self.addCleanup(migrate)
        migrate(FILLED)

    def read_state(self):
        rows = (
            Release(EMPTY)
            .organizations.order_by("pk")
            .values_list("pk", "name", "admin")
        )
        table = Organization._meta.db_table
        with connection.cursor() as cursor:
            columns = connection.introspection.get_table_description(cursor, table)
            constraints = connection.introspection.get_constraints(cursor, table)
        return (
            list(rows),
            set(Group.objects.values_list("pk", "name")),
            columns,
            sorted(constraints),
            is_done(REQUIRED),
        )

    def test_a_row_without_group_is_refused_and_the_message_cures_it(self):
        early = Release(FILLING).create("Acme")
        late = [Release(WITHOUT).create("Acme") for _ in range(2)]
        before = self.read_state()
        with self.assertRaises(IntegrityError) as refused:
            migrate(REQUIRED)
        message = str(refused.exception)
        self.assertIn(
            f"2 organizations have no admin, as the release before saved them: {late[0]}, {late[1]}",
            message,
        )
        self.assertEqual(self.read_state(), before)
        Release(WITHOUT).create("Acme")  # that release still works
        cure = re.findall(r"manage\.py (migrate[ \w-]*)", message)
        self.assertEqual(cure[0].strip(), f"migrate orgadmin {EMPTY} --fake")
        for command in cure:
            call_command(*command.split(), verbosity=0)
        names = Organization.objects.order_by("pk").values_list(
            "admin__name", flat=True
        )
        self.assertEqual(
            list(names),
            ["Acme Admin", *(f"Acme {early + number} Admin" for number in (1, 2, 3))],
        )
        self.assertFalse([finding for finding in examine() if finding.error])

    def test_the_release_before_is_refused_once_the_group_is_required(self):
        migrate(REQUIRED)
        with self.assertRaises(IntegrityError):
            Release(WITHOUT).create("Acme")
        for step in (FILLING, REQUIRING):
            Release(step).create("Acme")
        self.assertEqual(Release(EMPTY).organizations.count(), 2)
