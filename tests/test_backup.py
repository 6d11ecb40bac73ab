"""Backups and rehearsals, carried out as the docs say.

The docs are docs/operations.md and docs/required-relation.md.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import skipUnless
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase, tag

from tests.postgres import find_tools_path
from tests.scratch import PROJECT, scratch_database

FILL = r"""
from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.models import Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.invitations import invite
from orgadmin.people.membership import change_roles

root = User.objects.create_superuser("root", "root@example.com", "secret")
acme = Organization.objects.create(
    name="Acme", reference="R1", tax_id="T", notes="two\nlines"
)
twin = Organization(name="Acme")
other = Organization(name="Café 株式会社")
Organization.objects.bulk_create([twin, other])
acme.contacts.create(name="Ada", role="Boss")

for number in range(3):
    username = f"user-{number}"
    user = User.objects.create_user(username, f"{username}@example.com", "secret")
    change = RoleChange(user, acme, ROLES[number % 2])
    change_roles([change], actor=root, reason="Hired.")
change_roles([RoleChange(user, acme, None)], actor=root)
invite(twin, "new@example.com", ROLES_BY_KEY["reviewer"], actor=root)

acme.name = "Acme 2"
acme.save()

# The logs remember the keys of what was deleted last.
Organization.objects.create(name="Gone").delete()
User.objects.create_user("gone").delete()
"""

PRINT_ALL_ROWS = """
from django.apps import apps

LEFT_OUT = ("contenttypes.ContentType", "auth.Permission", "sessions.Session")
for model in apps.get_models(include_auto_created=True):
    if model._meta.label not in LEFT_OUT:
        for row in model._base_manager.order_by("pk").values():
            # Loading a fixture is recorded.
            if row.get("event") != "fixtures loaded":
                print(model._meta.label, sorted(row.items()))
"""

CHECK = """
from orgadmin.access.audit_log import verify
from orgadmin.models import Organization, User
from orgadmin.records.doctor.doctor import examine_organizations
from orgadmin.records.doctor.key_check import examine_keys

assert not [issue for issue in examine_organizations() if issue.is_error]
assert not list(examine_keys())
assert not list(verify())
new = Organization.objects.create(name="Acme")
assert new.group_grants.count() == 5
assert new.pk > 4
assert User.objects.create(username="new").pk > 5
"""


def copy_sqlite(source, target):
    with closing(connect(source)) as opened, closing(connect(target)) as new:
        opened.backup(new)


def connect(scratch):
    return sqlite3.connect(urlsplit(scratch.environment["DATABASE_URL"]).path)


@contextmanager
def backup_role(scratch):
    """Create the role of the backup as the docs say, and yield its URL.

    The name differs from the docs, because several tests may run at once.
    """
    name = f"backup_of_{scratch.name}"
    documented = (PROJECT / "docs/deployment.md").read_text()
    statements = re.findall(r"-c '([^']*\"orgadmin-backup\"[^']*)'", documented)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        for statement in statements:
            cursor.execute(statement.replace('"orgadmin-backup"', name))
    url = urlsplit(scratch.environment["DATABASE_URL"])
    address = url.netloc.rpartition("@")[2]
    try:
        yield url._replace(netloc=f"{name}:secret@{address}").geturl()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP ROLE {name}")


def copy_postgres(source, target):
    """Back the first database up, and restore the second one, as the docs say."""
    with tempfile.TemporaryDirectory() as folder, backup_role(source) as url:
        run_tool("sh", PROJECT / "docs/deployment/orgadmin-backup", folder, url=url)
        (dump,) = Path(folder).iterdir()
        target_url = target.environment["DATABASE_URL"]
        with dump.open() as opened:
            options = ["--no-owner", "--exit-on-error", "--dbname", target_url]
            run_tool("pg_restore", *options, stdin=opened)


def run_tool(*command, url="", **options):
    """Run a program of PostgreSQL, or a script that uses one, on a database."""
    environment = os.environ | {"PATH": find_tools_path(), "DATABASE_URL": url}
    return subprocess.run(
        command,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        **options,
    )


class BackupTests(TransactionTestCase):
    @tag("I3")
    def test_backup_equals_the_database(self):
        with (
            scratch_database() as original,
            scratch_database(is_migrated=False) as copy,
        ):
            original.run(FILL)
            if connection.vendor == "sqlite":
                copy_sqlite(original, copy)
            else:
                copy_postgres(original, copy)
            self.assertEqual(copy.run(PRINT_ALL_ROWS), original.run(PRINT_ALL_ROWS))
            copy.migrate("--check")
            copy.run(CHECK)

    @skipUnless(connection.vendor == "postgresql", "SQLite has no such backups")
    def test_a_backup_is_restored_to_verify_it(self):
        script = PROJECT / "docs/deployment/orgadmin-verify-backup"
        # PostgreSQL refuses to run as root.
        user = {"user": "nobody"} if os.geteuid() == 0 else {}
        with (
            scratch_database() as original,
            backup_role(original) as url,
            tempfile.TemporaryDirectory() as folder,
        ):
            original.run(FILL)
            backups = Path(folder)
            run_tool("sh", script.with_name("orgadmin-backup"), folder, url=url)
            [dump] = backups.iterdir()
            for path in (backups, dump):
                if user:
                    shutil.chown(path, user["user"])
            result = run_tool("sh", script, folder, **user)
            self.assertRegex(result.stdout, r"3 organizations, \d+ people, \d+ migr")
            self.assertEqual(list(backups.iterdir()), [dump])
            # A part of the file is missing.
            dump.write_bytes(dump.read_bytes()[:-2000])
            with self.assertRaises(subprocess.CalledProcessError) as caught:
                run_tool("sh", script, folder, **user)
            self.assertIn("cannot be restored", caught.exception.stderr)
            self.assertEqual(list(backups.iterdir()), [dump])

    @tag("G10")
    def test_fixture_of_dumpdata_is_loaded_with_groups_permissions_and_log(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            scratch_database() as original,
            scratch_database() as copy,
        ):
            original.run(FILL)
            fixture = str(Path(folder, "all.json"))
            self.dump(original, fixture)
            copy.run("manage.py", "loaddata", fixture)
            self.assertEqual(copy.run(PRINT_ALL_ROWS), original.run(PRINT_ALL_ROWS))
            copy.run(CHECK)

    def dump(self, scratch, fixture):
        options = ["--natural-foreign", "--output", fixture]
        for label in ("contenttypes", "auth.permission", "sessions"):
            options += ["--exclude", label]
        scratch.run("manage.py", "dumpdata", *options)


@skipUnless(connection.vendor == "postgresql", "SQLite has no roles")
class BackupRoleTests(TransactionTestCase):
    @tag("I4")
    def test_role_of_the_backup_can_write_nothing(self):
        statements = [
            "INSERT INTO orgadmin_organization (name) VALUES ('x')",
            "UPDATE orgadmin_user SET is_superuser = true",
            "DELETE FROM orgadmin_membershipevent",
            "TRUNCATE orgadmin_auditevent",
            "DROP TABLE orgadmin_contact",
            "CREATE TABLE x ()",
            "CREATE ROLE x SUPERUSER",
            "SELECT setval('orgadmin_user_id_seq', 1)",
            "SELECT pg_read_file('/etc/passwd')",
        ]
        with scratch_database() as scratch:
            with backup_role(scratch) as url:
                self.assertEqual(
                    self.ask(url, "SHOW transaction_read_only").strip(), "on"
                )
                for statement in statements:
                    # The role could lift the setting, so it needs no permission.
                    allow = "SET default_transaction_read_only = off"
                    with self.subTest(statement=statement):
                        with self.assertRaises(subprocess.CalledProcessError) as caught:
                            self.ask(url, allow, statement)
                        self.assertRegex(
                            caught.exception.stderr, "permission denied|must be owner"
                        )

    def ask(self, url, *statements):
        commands = []
        for statement in statements:
            commands += ["-c", statement]
        return run_tool("psql", "-XAt", "-v", "ON_ERROR_STOP=1", *commands, url).stdout


@skipUnless(
    connection.vendor == "postgresql", "to rehearse on SQLite, copy the database file"
)
class RehearsalTests(TransactionTestCase):
    FILL = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

loader = MigrationExecutor(connection).loader
state = loader.project_state(("orgadmin", "0001_initial"))
Organization = state.apps.get_model("orgadmin", "Organization")
Organization.objects.bulk_create(
    Organization(name=f"Name {number % 90}") for number in range(100)
)
"""

    def rehearse(self, scratch):
        """Run docs/rehearse.sh and return the process that has ended."""
        environment = scratch.environment | {
            "PATH": find_tools_path(),
            "PYTHON": sys.executable,
        }
        command = [shutil.which("sh"), Path(settings.BASE_DIR, "docs/rehearse.sh")]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def test_goes_forwards_backwards_and_forwards_on_a_copy(self):
        with scratch_database(is_migrated=False) as scratch:
            scratch.migrate("orgadmin", "0001_initial")
            scratch.run(self.FILL)
            done = self.rehearse(scratch)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            for text in (
                "dump:",
                "restore:",
                "forwards:",
                "from 0001_initial",
                "backwards:",
                "forwards again:",
                "doctor:",
                "The way back left organizations, groups and memberships as they were.",
            ):
                self.assertIn(text, done.stdout)
            shown = scratch.run("manage.py", "showmigrations", "orgadmin")
            self.assertIn("[ ] 0002", shown)
            self.assert_no_copy_is_left()

    def assert_no_copy_is_left(self):
        with connection.cursor() as cursor:
            cursor.execute(
                r"SELECT datname FROM pg_database WHERE datname LIKE '%\_rehearsal'"
            )
            self.assertEqual(cursor.fetchall(), [])

    def test_shows_the_step_that_fails_and_leaves_no_copy(self):
        with scratch_database(is_migrated=False) as scratch:
            scratch.migrate("orgadmin", "0003")
            # These rows have no group, although the step that creates groups is done.
            scratch.run(self.FILL)
            done = self.rehearse(scratch)
            self.assertEqual(done.returncode, 1)
            self.assertIn("forwards failed. Only the copy was changed.", done.stdout)
            self.assertIn("100 organizations have no admin", done.stdout)
            self.assert_no_copy_is_left()
