"""docs/deployment/orgadmin-release: replacing releases without interruption.

The releases here are small: their manage.py and their pages do what files in their
folders say. gunicorn and the links are real.
"""

import http.client
import importlib.machinery
import importlib.util
import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase

PROJECT = Path(settings.BASE_DIR)
SCRIPT = PROJECT / "docs/deployment/orgadmin-release"

WSGI = """
import pathlib

RELEASE = pathlib.Path(__file__).resolve().parent.parent
answers = 0

def application(environ, start_response):
    global answers
    answers += 1
    status = "200 OK"
    body = RELEASE.name
    if environ["PATH_INFO"] == "/healthz" and (RELEASE / "unhealthy").exists():
        status = "503 Unavailable"
        body = "the database does not answer"
    if environ["PATH_INFO"] == "/admin/login/" and (RELEASE / "bug").exists():
        status = "500 Error"
    if (RELEASE / "sick-later").exists() and answers > 3:
        status = "503 Unavailable"
    start_response(status, [("Content-Type", "text/plain")])
    return [body.encode()]
"""

GUNICORN_SETTINGS = """
import pathlib

workers = 1
threads = 4
if pathlib.Path("broken").exists():
    raise SystemExit("TIME_ZONE is missing or wrong.")
"""

MANAGE = """
import pathlib, sys

release = pathlib.Path(__file__).resolve().parent
with open(release.parent / "commands", "a") as log:
    print(release.name, *sys.argv[1:], file=log)
if (release / f"{sys.argv[1]}-fails").exists():
    sys.exit(3)
if sys.argv[1] == "collectstatic":
    folder = release / "staticfiles"
    folder.mkdir(exist_ok=True)
    (folder / f"{release.name}.css").touch()
"""

GUNICORN = f'#!/bin/sh\nexec {sys.executable} -m gunicorn "$@"\n'

OLD = "20260101-000000"
NEW = "20260202-000000"


def load_script():
    loader = importlib.machinery.SourceFileLoader("orgadmin_release", str(SCRIPT))
    spec = importlib.util.spec_from_loader("orgadmin_release", loader)
    module = importlib.util.module_from_spec(spec)
    # The dataclasses of the module look it up.
    sys.modules["orgadmin_release"] = module
    with mock.patch.object(sys, "dont_write_bytecode", True):
        loader.exec_module(module)
    return module


script = load_script()


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def write_release(folder, *, complete=True):
    """Write the files of a small release. Its tests add files that make it fail."""
    (folder / "config").mkdir(parents=True)
    (folder / "config/wsgi.py").write_text(WSGI)
    (folder / "manage.py").write_text(MANAGE)
    deployment = folder / "docs/deployment"
    deployment.mkdir(parents=True)
    (deployment / "gunicorn.conf.py").write_text(GUNICORN_SETTINGS)
    shutil.copy(SCRIPT.with_name("orgadmin"), deployment)
    write_program(
        deployment / "orgadmin-backup",
        f'#!/bin/sh\necho {folder.name} backup >>"$1/commands"\n'
        f'[ ! -e "$1/backup-fails" ]\n',
    )
    if complete:
        write_program(folder / ".venv/bin/gunicorn", GUNICORN)
        (folder / ".venv/bin/python").symlink_to(sys.executable)
        (folder / ".complete").touch()


class Visitors:
    """Repeatedly sends requests to the site, as nginx would, until the context ends."""

    def __init__(self, link):
        self.link = link
        self.failures = 0
        self.longest_wait = 0
        self.bodies = []
        self.done = threading.Event()

    def ask(self):
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.link))
        connection.request("GET", "/")
        body = connection.getresponse().read().decode()
        connection.close()
        return body

    def visit(self):
        while not self.done.is_set():
            started = time.monotonic()
            try:
                self.bodies.append(self.ask())
            except (OSError, http.client.HTTPException):
                self.failures += 1
            waited = time.monotonic() - started
            self.longest_wait = max(self.longest_wait, waited)
            time.sleep(0.01)

    def __enter__(self):
        self.thread = threading.Thread(target=self.visit)
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.done.set()
        self.thread.join()


class ReleaseTestCase(SimpleTestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        base = Path(folder.name)
        self.root = base / "srv"
        self.programs = base / "bin"
        for path in (self.root, self.programs):
            path.mkdir()
        patch = mock.patch.multiple(
            script,
            ROOT=self.root,
            SOCKETS=base / "run",
            PROGRAMS=self.programs,
            BACKUPS=self.root,
            LOG=base / "log",
            USER="",
            START_TIMEOUT=10,
            WATCH=1,
            choose_supervisor=script.WithoutSystemd,
        )
        patch.start()
        self.addCleanup(patch.stop)
        write_program(base / "tools/runuser", '#!/bin/sh\nshift 3\nexec "$@"\n')
        path = f"{base}/tools:{os.environ['PATH']}"
        path_patch = mock.patch.dict(os.environ, {"PATH": path})
        path_patch.start()
        self.addCleanup(path_patch.stop)
        self.old = self.root / OLD
        self.new = self.root / NEW
        self.addCleanup(self.run_script, "stop")

    def run_script(self, *arguments):
        """Return the exit status. What was printed is in `self.printed`."""
        output = io.StringIO()
        # Commands print to the descriptor, so they are not in `output`.
        with redirect_stdout(output), redirect_stderr(output):
            with mock.patch.object(script.signal, "signal"):
                status = script.main(list(arguments))
        self.printed = output.getvalue()
        return status

    def succeed(self, *arguments):
        self.assertEqual(self.run_script(*arguments), 0, self.printed)

    def list_commands(self):
        path = self.root / "commands"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def read_link(self, name):
        link = self.root / name
        return link.resolve().name if link.is_symlink() else None

    def visit(self):
        return Visitors(self.root / "current/socket")

    def start_old(self):
        write_release(self.old)
        self.succeed("activate", OLD)
        self.list_commands()

    def assert_nobody_noticed(self, visitors):
        self.assertGreater(len(visitors.bodies), 10)
        self.assertEqual(visitors.failures, 0)
        self.assertLess(visitors.longest_wait, 2)


class ActivateTests(ReleaseTestCase):
    def test_the_first_release(self):
        self.start_old()
        self.assertEqual(self.visit().ask(), OLD)
        self.assertEqual(self.read_link("current"), OLD)
        self.assertIsNone(self.read_link("previous"))
        self.assertTrue((self.programs / "orgadmin-backup").exists())

    def test_each_step_in_its_order(self):
        write_release(self.old)
        self.succeed("activate")
        steps = [line.removeprefix(f"{OLD} ") for line in self.list_commands()]
        self.assertEqual(
            steps,
            [
                "check --deploy --fail-level WARNING",
                "backup",
                "migrate",
                "doctor --fix",
            ],
        )

    def test_check_shows_what_would_change(self):
        self.start_old()
        write_release(self.new)
        self.succeed("check")
        steps = [line.removeprefix(f"{NEW} ") for line in self.list_commands()]
        self.assertEqual(
            steps, ["check --deploy --fail-level WARNING", "migrate --plan"]
        )
        self.assertIn(f"orgadmin-release activate {NEW}", self.printed)
        self.assertEqual(self.visit().ask(), OLD)

    def test_nobody_notices_a_new_release(self):
        self.start_old()
        write_release(self.new)
        with self.visit() as visitors:
            self.succeed("activate")
        self.assert_nobody_noticed(visitors)
        self.assertEqual(visitors.bodies[0], OLD)
        self.assertEqual(visitors.bodies[-1], NEW)
        self.assertEqual(self.read_link("previous"), OLD)
        self.assertIn("orgadmin-release rollback", self.printed)
        supervisor = script.WithoutSystemd()
        running = [name for name in "ab" if supervisor.is_running(name)]
        self.assertEqual(running, ["b"])

    def test_nobody_notices_a_release_that_does_not_become_healthy(self):
        reasons = {
            "unhealthy": "the database does not answer",
            "broken": "it stopped",
            "bug": "status 500",
            "sick-later": "take over: its ",
        }
        self.start_old()
        for problem, reason in reasons.items():
            with self.subTest(problem):
                write_release(self.new)
                (self.new / problem).touch()
                with mock.patch.object(script, "START_TIMEOUT", 3):
                    with self.visit() as visitors:
                        self.assertEqual(self.run_script("activate"), 1)
                self.assert_nobody_noticed(visitors)
                self.assertEqual(visitors.bodies[-1], OLD)
                self.assertIn(f"{OLD} is still in use", self.printed)
                self.assertIn(reason, self.printed)
                self.assertEqual(self.read_link("current"), OLD)
                self.assertFalse(script.WithoutSystemd().is_running("b"))
                shutil.rmtree(self.new)

    def test_nothing_is_started_after_a_step_that_fails(self):
        self.start_old()
        write_release(self.new)
        for step in ("check", "backup", "migrate"):
            with self.subTest(step):
                folder = self.root if step == "backup" else self.new
                (folder / f"{step}-fails").touch()
                with mock.patch.object(script.WithoutSystemd, "start") as start:
                    self.assertEqual(self.run_script("activate"), 1)
                start.assert_not_called()
                self.assertIn("failed with status", self.printed)
                self.assertEqual(self.read_link("current"), OLD)
                (folder / f"{step}-fails").unlink()

    def test_a_failed_migration_ends_the_steps(self):
        self.start_old()
        write_release(self.new)
        (self.new / "migrate-fails").touch()
        self.run_script("activate")
        self.assertNotIn("doctor", " ".join(self.list_commands()))

    def test_errors_of_the_data_do_not_undo_an_upgrade(self):
        self.start_old()
        write_release(self.new)
        (self.new / "doctor-fails").touch()
        self.succeed("activate")
        self.assertIn("doctor has found errors", self.printed)
        self.assertEqual(self.visit().ask(), NEW)

    def test_an_incomplete_release_is_refused(self):
        self.start_old()
        write_release(self.new, complete=False)
        self.assertEqual(self.run_script("activate", NEW), 1)
        self.assertIn(f"There is no complete release {NEW}", self.printed)

    def test_one_runs_at_a_time(self):
        self.start_old()
        with script.lock():
            self.assertEqual(self.run_script("restart"), 1)
            self.assertIn("Another orgadmin-release is running", self.printed)
            # cron runs it each minute.
            self.succeed("start")
            self.assertEqual(self.printed, "")

    def test_after_a_power_cut_the_site_is_the_old_or_the_new_release(self):
        """A process that is killed cleans nothing up."""
        self.start_old()
        write_release(self.new)
        steps = ("install_files", "wait_until_healthy", "switch", "watch")
        for step in steps:
            with self.subTest(step):
                with mock.patch.object(script, step, side_effect=SystemExit):
                    with mock.patch.object(script, "go_back"):
                        self.assertEqual(self.run_script("activate"), 1)
                serving = self.visit().ask()
                self.assertEqual(serving, self.read_link("current"))
                self.assertEqual(self.run_script("start"), 0)
                if serving == OLD:
                    continue
                self.succeed("rollback" if self.read_link("previous") else "list")

    def test_a_command_that_is_interrupted_leaves_the_old_release(self):
        self.start_old()
        write_release(self.new)
        with mock.patch.object(
            script, "watch", side_effect=KeyboardInterrupt("SIGHUP")
        ):
            self.assertEqual(self.run_script("activate"), 1)
        self.assertIn("SIGHUP", self.printed)
        self.assertEqual(self.visit().ask(), OLD)


class OtherCommandTests(ReleaseTestCase):
    def test_rollback_returns_to_the_previous_release(self):
        self.start_old()
        write_release(self.new)
        self.succeed("activate")
        self.list_commands()
        with self.visit() as visitors:
            self.succeed("rollback")
        self.assert_nobody_noticed(visitors)
        self.assertEqual(self.visit().ask(), OLD)
        # The newer release sends its mail. Nothing is migrated back.
        self.assertEqual(self.list_commands(), [f"{NEW} worker --once"])

    def test_rollback_without_a_previous_release_changes_nothing(self):
        self.start_old()
        self.assertEqual(self.run_script("rollback"), 1)
        self.assertIn("There is no previous release", self.printed)
        self.assertEqual(self.visit().ask(), OLD)

    def test_nobody_notices_a_restart(self):
        self.start_old()
        with self.visit() as visitors:
            self.succeed("restart")
        self.assert_nobody_noticed(visitors)
        self.assertEqual(self.read_link("server-b"), OLD)

    def test_nobody_notices_a_restart_with_wrong_settings(self):
        self.start_old()
        (self.old / "broken").touch()
        with self.visit() as visitors:
            self.assertEqual(self.run_script("restart"), 1)
        self.assert_nobody_noticed(visitors)

    def test_start_starts_what_ran_before_the_machine_stopped(self):
        self.start_old()
        self.succeed("stop")
        with self.assertRaises(OSError):
            self.visit().ask()
        self.succeed("start")
        self.assertEqual(self.visit().ask(), OLD)
        with mock.patch.object(script.WithoutSystemd, "start") as start:
            self.succeed("start")
        start.assert_not_called()

    def test_start_does_not_wait_for_ever_and_leaves_the_server_to_recover(self):
        self.start_old()
        self.succeed("stop")
        (self.old / "unhealthy").touch()
        with mock.patch.object(script, "START_TIMEOUT", 2):
            self.assertEqual(self.run_script("start"), 1)
        self.assertIn("the database does not answer", self.printed)
        self.assertEqual(self.visit().ask(), OLD)

    def test_lists_and_deletes_releases(self):
        self.start_old()
        for name in ("20260102-000000", "20260103-000000", "20260104-000000"):
            write_release(self.root / name)
        write_release(self.root / "20260105-000000", complete=False)
        (self.root / "notes").mkdir()
        self.succeed("list")
        lines = self.printed.splitlines()
        self.assertEqual(lines[0], "20260105-000000  incomplete")
        self.assertEqual(lines[-1], f"{OLD}  current, server a runs")
        self.succeed("prune", "--keep", "2")
        left = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        self.assertEqual(
            [name for name in left if not name.startswith("server-")],
            [OLD, "20260103-000000", "20260104-000000", "current", "notes"],
        )


class FetchTests(ReleaseTestCase):
    def setUp(self):
        super().setUp()
        self.source = self.root.parent / "source"
        write_release(self.source, complete=False)
        (self.source / "requirements.txt").touch()
        environment = {
            "PIP_NO_INDEX": "1",
            "GIT_AUTHOR_NAME": "x",
            "GIT_AUTHOR_EMAIL": "x@example.com",
            "GIT_COMMITTER_NAME": "x",
            "GIT_COMMITTER_EMAIL": "x@example.com",
        }
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)

    def commit(self):
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
            subprocess.run(["git", *command], cwd=self.source, check=True)

    def test_prepares_a_release_that_the_service_can_read(self):
        self.start_old()
        (self.old / "staticfiles").mkdir()
        (self.old / "staticfiles/old.css").touch()
        self.commit()
        umask = os.umask(0o027)
        try:
            self.succeed("fetch", f"file://{self.source}")
        finally:
            os.umask(umask)
        release = script.find_release(None)
        self.assertNotEqual(release, self.old)
        self.assertFalse((release / ".git").exists())
        self.assertTrue((release / "staticfiles/old.css").exists())
        for path in (release, release / "manage.py", release / ".venv/bin/pip"):
            self.assertTrue(path.stat().st_mode & stat.S_IROTH, path)
        self.assertIn(f"orgadmin-release check {release.name}", self.printed)
        self.assertEqual(self.read_link("current"), OLD)

    def test_leaves_nothing_if_a_package_cannot_be_installed(self):
        self.start_old()
        line = f"nothing-like-this==1 --hash=sha256:{'0' * 64}\n"
        (self.source / "requirements.txt").write_text(line)
        self.commit()
        self.assertEqual(self.run_script("fetch", f"file://{self.source}"), 1)
        self.assertIn("failed with status", self.printed)
        self.assertEqual(script.list_releases(), [self.old])
        self.assertEqual(self.visit().ask(), OLD)

    def test_asks_for_the_repository_once(self):
        self.assertEqual(self.run_script("fetch"), 1)
        self.assertIn("orgadmin-release fetch URL", self.printed)
