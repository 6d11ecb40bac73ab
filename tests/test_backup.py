"""What docs/operations.md and docs/required-relation.md say of backups and rehearsals, done as it stands there."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import skipUnless
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase

from .scratch import scratch_database

FILL = """
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.people.invitations import invite
from orgadmin.models import *
from orgadmin.access.roles import ROLES
root = User.objects.create_superuser("root", "root@example.com", "secret")
acme = Organization.objects.create(name="Acme", reference="R1", tax_id="T", notes="two\\nlines")
twin, third = Organization.objects.bulk_create([Organization(name="Acme"), Organization(name="Café 株式会社")])
acme.contacts.create(name="Ada", role="Boss")
for number in range(3):
    user = User.objects.create_user(f"user-{number}", f"user-{number}@example.com", "secret")
    change_roles([RoleChange(user, acme, ROLES[number % 2])], actor=root, reason="Hired.")
change_roles([RoleChange(user, acme, None)], actor=root)
invite(twin, "new@example.com", ROLES[1], actor=root)
acme.name = "Acme 2"
acme.save()
"""
READ = """
from django.apps import apps
for model in apps.get_models(include_auto_created=True):
    if model._meta.label not in ("contenttypes.ContentType", "auth.Permission", "sessions.Session"):
        for row in model._base_manager.order_by("pk").values():
            print(model._meta.label, sorted(row.items()))
"""
MICROSECONDS = r"(datetime\(\d+, \d+, \d+, \d+, \d+(?:, \d+)?)(?:, \d{1,6})?(?=, tzinfo)"  # no fixture keeps them
CHECK = """
from orgadmin.records.doctor import examine
from orgadmin.models import Organization
assert not [finding for finding in examine() if finding.error]
new = Organization.objects.create(name="Acme")
assert new.group_grants.count() == 5 and new.pk > 3
"""


def find_tools():
    """Return the environment in which PostgreSQL's own tools are found: those of the wheel, if it serves the tests."""
    environment = dict(os.environ)
    if not os.environ.get("TEST_DATABASE_URL"):
        import pgserver

        folder = Path(pgserver.__file__).parent / "pginstall" / "bin"
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return environment


class BackupTests(TransactionTestCase):
    def test_a_copy_of_the_database_equals_it(self):
        with scratch_database() as original, scratch_database() as copy:
            original.migrate()
            original.run(FILL)
            urls = [scratch.environment["DATABASE_URL"] for scratch in (original, copy)]
            if connection.vendor == "sqlite":
                source, target = (sqlite3.connect(urlsplit(url).path) for url in urls)
                source.backup(target)
                source.close()
                target.close()
            else:
                with tempfile.TemporaryDirectory() as folder:
                    dump = Path(folder, "dump")
                    tools = {"env": find_tools(), "check": True}
                    subprocess.run(
                        ["pg_dump", "--format=custom", "--file", dump, urls[0]], **tools
                    )
                    subprocess.run(
                        [
                            "pg_restore",
                            "--no-owner",
                            "--exit-on-error",
                            "-d",
                            urls[1],
                            dump,
                        ],
                        **tools,
                    )
            self.assertEqual(copy.run(READ), original.run(READ))
            copy.migrate("--check")
            copy.run(CHECK)

    def test_what_dumpdata_wrote_is_loaded_with_groups_permissions_and_ledger(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            scratch_database() as original,
            scratch_database() as copy,
        ):
            original.migrate()
            original.run(FILL)
            fixture = str(Path(folder, "all.json"))
            exclude = [
                option
                for label in ("contenttypes", "auth.permission", "sessions")
                for option in ("-e", label)
            ]
            original.run(
                "manage.py", "dumpdata", "--natural-foreign", *exclude, "-o", fixture
            )
            copy.migrate()
            copy.run("manage.py", "loaddata", fixture)
            copied, told = (
                re.sub(MICROSECONDS, r"\1", scratch.run(READ))
                for scratch in (copy, original)
            )
            self.assertEqual(copied, told)
            copy.run(CHECK)


@skipUnless(
    connection.vendor == "postgresql", "a copy of an SQLite file is a rehearsal"
)
class RehearsalTests(TransactionTestCase):
    FILL = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
get = MigrationExecutor(connection).loader.project_state(("orgadmin", "0001_initial")).apps.get_model
model = get("orgadmin", "Organization")
model.objects.bulk_create(model(name=f"Name {number % 90}") for number in range(100))
"""

    def rehearse(self, scratch):
        environment = scratch.environment | {
            "PATH": find_tools()["PATH"],
            "PYTHON": sys.executable,
        }
        command = [shutil.which("sh"), Path(settings.BASE_DIR, "docs/rehearse.sh")]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def test_goes_forwards_backwards_and_forwards_on_a_copy(self):
        with scratch_database() as scratch:
            scratch.migrate("orgadmin", "0001_initial")
            scratch.run(self.FILL)
            done = self.rehearse(scratch)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            steps = (
                "dump:",
                "restore:",
                "forwards:",
                "from 0001_initial",
                "backwards:",
                "forwards again:",
                "doctor:",
            )
            for step in (
                *steps,
                "The way back left organizations, groups and memberships as they were.",
            ):
                self.assertIn(step, done.stdout)
            self.assertIn(
                "[ ] 0002", scratch.run("manage.py", "showmigrations", "orgadmin")
            )
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT datname FROM pg_database WHERE datname LIKE '%\\_rehearsal'"
                )
                self.assertEqual(cursor.fetchall(), [])

    def test_a_step_that_fails_is_shown_and_leaves_nothing(self):
        with scratch_database() as scratch:
            scratch.migrate("orgadmin", "0003")
            scratch.run(
                self.FILL
            )  # rows without a group, after the step that makes groups
            done = self.rehearse(scratch)
            self.assertEqual(done.returncode, 1)
            self.assertIn(
                "forwards failed; nothing was changed but the copy.", done.stdout
            )
            self.assertIn("100 organizations have no admin", done.stdout)
