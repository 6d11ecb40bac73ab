"""docs/deployment/orgadmin-backup, with programs in place of PostgreSQL's."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

SCRIPT = Path(settings.BASE_DIR) / "docs/deployment/orgadmin-backup"

# Finds the file behind --file. If the first dump is to fail, it leaves a half of it.
PG_DUMP = """#!/bin/sh
echo half >"$3"
echo "$@" >"$TOOLS/arguments"
echo "$PGPASSWORD" >"$TOOLS/password"
[ ! -e "$TOOLS/dump-fails" ]
"""
PG_RESTORE = '#!/bin/sh\n[ ! -e "$TOOLS/restore-fails" ]\n'
DF = '#!/bin/sh\necho Avail\ncat "$TOOLS/free"\n'

DAY = 24 * 60 * 60


class BackupScriptTests(SimpleTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        base = Path(folder.name)
        self.tools = base / "tools"
        self.backups = base / "backups"
        self.state = base / "state"
        for path in (self.tools, self.backups, self.state):
            path.mkdir()
        programs = {"pg_dump": PG_DUMP, "pg_restore": PG_RESTORE, "df": DF}
        for name, text in programs.items():
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)
        (self.tools / "free").write_text("1000000\n")

    def write_dump(self, name, *, days, size=10):
        path = self.backups / name
        path.write_bytes(b"x" * size)
        changed = time.time() - days * DAY
        os.utime(path, (changed, changed))
        return name

    def run_script(self, url="postgres:///x"):
        return subprocess.run(
            ["sh", SCRIPT, self.backups],
            env={
                "PATH": f"{self.tools}:{os.environ['PATH']}",
                "TOOLS": str(self.tools),
                "STATE_DIRECTORY": str(self.state),
                "DATABASE_URL": url,
            },
            capture_output=True,
            text=True,
        )

    def list_dumps(self):
        return {path.name for path in self.backups.iterdir()}

    def read_status(self):
        lines = (self.state / "status").read_text().splitlines()
        return {line.partition("=")[0] for line in lines}

    def test_deletes_old_dumps_and_keeps_the_three_newest(self):
        for number in range(5):
            self.write_dump(f"orgadmin-old-{number}.dump", days=40 + number)
        self.assertEqual(self.run_script().returncode, 0)
        old = {f"orgadmin-old-{number}.dump" for number in range(3)}
        dumps = self.list_dumps()
        self.assertLess(old, dumps)
        self.assertEqual(len(dumps), 4)
        self.assertEqual(self.read_status(), {"BACKUP"})

    def test_keeps_everything_that_is_younger_than_a_month(self):
        names = {
            self.write_dump(f"orgadmin-{days}.dump", days=days) for days in range(8)
        }
        self.run_script()
        self.assertLess(names, self.list_dumps())

    def test_heals_after_the_disk_was_full(self):
        """Half a dump fills the disk, and so do old dumps."""
        kept = {
            self.write_dump(f"orgadmin-{days}.dump", days=days) for days in (1, 2, 3)
        }
        self.write_dump("orgadmin-half.dump.part", days=4)
        self.write_dump("orgadmin-99.dump", days=99)
        (self.tools / "dump-fails").touch()
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("no backup was made", result.stderr)
        self.assertEqual(self.list_dumps(), kept)
        self.assertEqual(self.read_status(), {"FAILED"})
        (self.tools / "dump-fails").unlink()
        self.assertEqual(self.run_script().returncode, 0)
        self.assertEqual(len(self.list_dumps()), 4)
        self.assertEqual(self.read_status(), {"FAILED", "BACKUP"})

    def test_other_users_of_the_machine_do_not_see_the_password(self):
        urls = {
            "postgres:///x?host=/run": ("postgres:///x?host=/run", ""),
            "postgres://ada@db:5432/x": ("postgres://ada@db:5432/x", ""),
            "postgres://ada:p%40%2F%25@db/x": ("postgres://ada@db/x", "p@/%"),
            "postgres://ada:pw@/x?host=/run": ("postgres://ada@/x?host=/run", "pw"),
        }
        for url, (argument, password) in urls.items():
            with self.subTest(url=url):
                self.assertEqual(self.run_script(url).returncode, 0)
                arguments = (self.tools / "arguments").read_text()
                self.assertEqual(arguments.split()[-1], argument)
                passed = (self.tools / "password").read_text()
                self.assertEqual(passed, f"{password}\n")

    def test_an_unreadable_dump_does_not_count(self):
        (self.tools / "restore-fails").touch()
        self.assertEqual(self.run_script().returncode, 1)
        self.assertEqual(self.list_dumps(), set())

    def test_says_that_there_is_not_enough_space(self):
        self.write_dump("orgadmin-1.dump", days=1, size=100_000)
        (self.tools / "free").write_text("50\n")
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("The disk has 50 KiB left", result.stderr)
        self.assertEqual(self.list_dumps(), {"orgadmin-1.dump"})
