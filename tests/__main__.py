"""Run the tests: `python -m tests [--browser | --pictures] [LABEL] [OPTION]`.

Labels and options are those of `manage.py test`.

Without --browser, everything that needs no browser runs on SQLite and, at the same
time, on PostgreSQL. Tests that use no database run once. The PostgreSQL server is
installed with the development requirements and started for the run; set
TEST_DATABASE_URL to use another one.

With --browser, the browser tests run in Chromium, on SQLite. With --pictures, Chromium
takes the screenshots of the documentation.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO

from tests.postgres import run_postgres

IN_MEMORY = "sqlite://:memory:"

# The first one is Chromium without windows. It shows the same pages, and takes half of
# the processor time.
CHROMIUM = (
    shutil.which("chromium-headless-shell")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)


def run_tests(title: str, database_url: str, arguments: Sequence[str]) -> int:
    """Run `manage.py test` on a database and return its exit status."""
    print(f"\n== {title}", flush=True)
    return start_tests(database_url, arguments).wait()


def start_tests(
    database_url: str, arguments: Sequence[str], output: IO[str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `manage.py test` on a database. It prints to a file, if there is one."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONWARNINGS": "error::DeprecationWarning:orgadmin",
    }
    command = [sys.executable, "manage.py", "test", "--parallel", "auto", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=output, stderr=output and subprocess.STDOUT
    )


def run_without_browser(arguments: Sequence[str]) -> int:
    """Run the tests that need no browser on both databases at once.

    Both use all cores. While one waits for its last test, or for a lock, the other goes
    on. What PostgreSQL's tests print is shown when they are done.
    """
    selection = ["--exclude-tag", "browser", "--exclude-tag", "pictures", *arguments]
    for_postgres = ["--testrunner", "tests.runner.DatabaseTestRunner", *selection]
    with run_postgres() as url, tempfile.TemporaryFile("w+") as output:
        postgres = start_tests(url, for_postgres, output)
        sqlite_status = run_tests("SQLite", IN_MEMORY, selection)
        print("\n== PostgreSQL", flush=True)
        postgres_status = postgres.wait()
        output.seek(0)
        print(output.read())
    return sqlite_status or postgres_status


def run_in_browser(selection: Sequence[str], arguments: Sequence[str]) -> int:
    if CHROMIUM is None:
        sys.exit(
            "Chromium is missing. To install it, run:"
            " apt-get install chromium-headless-shell"
        )
    return run_tests("Chromium, SQLite", IN_MEMORY, [*selection, *arguments])


def main(arguments: Sequence[str]) -> int:
    mode = arguments[0] if arguments else ""
    if mode == "--browser":
        selection = ["--tag", "browser", "--exclude-tag", "pictures"]
        return run_in_browser(selection, arguments[1:])
    if mode == "--pictures":
        return run_in_browser(["--tag", "pictures"], arguments[1:])
    return run_without_browser(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
