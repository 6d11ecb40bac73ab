"""Releases keep working on one database while it is upgraded.

Each migration leaves the release before it running.
"""

import json
import re

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test import TransactionTestCase

from orgadmin.models import Organization
from orgadmin.records.doctor.doctor import examine_organizations
from tests.migrating import migrate
from tests.migration_case import MigrationCase
from tests.releases import (
    EMPTY,
    FILLED,
    FILLING,
    REQUIRED,
    REQUIRING,
    ROWS,
    WITHOUT,
    Release,
    is_done,
)
from tests.scratch import scratch_database

IMPORT = "from tests.releases import *\n"


class ReleasesAtOnceTests(TransactionTestCase):
    """Real processes of two releases save while a migration runs."""

    def prepare(self, scratch, program):
        scratch.migrate("guardian")
        scratch.migrate("orgadmin", EMPTY)
        scratch.run(IMPORT + program)

    def run_at_once(self, scratch, releases, step):
        """Migrate to a step while releases save.

        Returns for each release the ids that it saved, [created, edited].
        """
        programs = [f"save_until_done({release!r}, {step!r})" for release in releases]
        processes = [scratch.start(IMPORT + program) for program in programs]
        for process in processes:
            process.stdout.readline()
        processes.append(scratch.start("manage.py", "migrate", "orgadmin", step))
        printed = []
        failures = []
        for process in processes:
            output, errors = process.communicate()
            printed.append(output)
            if process.returncode or errors:
                failures.append(errors)
        self.assertEqual(failures, [])
        return [json.loads(output) for output in printed[:-1]]

    def assert_complete(self, scratch, saved):
        created = set()
        edited = set()
        for created_by_release, edited_by_release in saved:
            created.update(created_by_release)
            edited.update(edited_by_release)
        lines = scratch.run(IMPORT + "print_organizations()").splitlines()
        organizations, group_count = map(json.loads, lines)
        self.assertEqual(
            {pk for pk, _, _, _ in organizations}, {*range(1, ROWS + 1)} | created
        )
        self.assertEqual({pk for pk, _, _, phone in organizations if phone}, edited)
        # Each organization has its own group, and there are no others.
        groups = {group for _, _, group, _ in organizations}
        self.assertEqual(len(groups), len(organizations))
        self.assertEqual(group_count, len(groups))
        for pk, name, group, _ in organizations:
            self.assertRegex(group, rf"^{name}( {pk})?( \d+)? Admin$")

    def test_old_and_new_release_save_while_groups_are_created(self):
        with scratch_database(is_migrated=False) as scratch:
            self.prepare(scratch, "create_organizations()")
            saved = self.run_at_once(scratch, [WITHOUT, FILLING, FILLING], FILLED)
            # The old release may have saved rows after the step went past them. They
            # get their groups when the step runs again.
            scratch.migrate("orgadmin", EMPTY, "--fake")
            scratch.migrate("orgadmin", REQUIRED)
            self.assert_complete(scratch, saved)

    def test_old_and_new_release_save_while_the_group_becomes_required(self):
        with scratch_database(is_migrated=False) as scratch:
            self.prepare(scratch, "create_organizations()")
            scratch.migrate("orgadmin", FILLED)
            saved = self.run_at_once(scratch, [FILLING, REQUIRING], REQUIRED)
            self.assert_complete(scratch, saved)

    def test_migration_leaves_a_name_to_the_process_that_takes_it_first(self):
        with scratch_database(is_migrated=False) as scratch:
            self.prepare(scratch, "Release(WITHOUT).create('Acme')")
            process = scratch.start(IMPORT + "save_slowly('Acme')")
            process.stdout.readline()
            scratch.migrate("orgadmin", FILLED)
            _, errors = process.communicate()
            self.assertEqual((errors, process.returncode), ("", 0))
            printed = scratch.run(IMPORT + "print_organizations()")
            self.assertEqual(
                printed,
                '[[1, "Acme", "Acme 1 Admin", ""], [2, "Acme", "Acme Admin", ""]]\n2\n',
            )


class LateRowTests(MigrationCase):
    """What the old release saves after the step that creates the groups."""

    step = FILLED

    def read_state(self):
        """Return all that a migration which fails must leave as it was."""
        organizations = Release(EMPTY).organizations.order_by("pk")
        table = Organization._meta.db_table
        with connection.cursor() as cursor:
            columns = connection.introspection.get_table_description(cursor, table)
            constraints = connection.introspection.get_constraints(cursor, table)
        return {
            "organizations": list(organizations.values_list("pk", "name", "admin")),
            "groups": set(Group.objects.values_list("pk", "name")),
            "columns": columns,
            "constraints": sorted(constraints),
            "is required": is_done(REQUIRED),
        }

    def test_row_without_group_is_refused_and_the_message_says_what_to_do(self):
        early = Release(FILLING).create("Acme")
        late = [Release(WITHOUT).create("Acme") for _ in range(2)]
        state = self.read_state()
        with self.assertRaises(IntegrityError) as refused:
            migrate(REQUIRED)
        message = str(refused.exception)
        self.assertIn(
            f"2 organizations have no admin: {late[0]}, {late[1]}. The previous release"
            " still saves such rows.",
            message,
        )
        self.assertEqual(self.read_state(), state)
        Release(WITHOUT).create("Acme")  # that release still works
        commands = re.findall(r"manage\.py (migrate[ \w-]*)", message)
        self.assertEqual(commands[0].strip(), f"migrate orgadmin {EMPTY} --fake")
        for command in commands:
            call_command(*command.split(), verbosity=0)
        self.assert_group_names(
            "Acme Admin",
            f"Acme {early + 1} Admin",
            f"Acme {early + 2} Admin",
            f"Acme {early + 3} Admin",
        )
        self.assertFalse([issue for issue in examine_organizations() if issue.is_error])

    def assert_group_names(self, *expected):
        organizations = Organization.objects.order_by("pk")
        names = organizations.values_list("admin__name", flat=True)
        self.assertEqual(tuple(names), expected)

    def test_old_release_is_refused_once_the_group_is_required(self):
        migrate(REQUIRED)
        with self.assertRaises(IntegrityError):
            Release(WITHOUT).create("Acme")
        for step in (FILLING, REQUIRING):
            Release(step).create("Acme")
        self.assertEqual(Release(EMPTY).organizations.count(), 2)
