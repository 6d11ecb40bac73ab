"""Run the tests: `python -m tests [--browser | --pictures] [LABEL] [OPTION]`.

Labels and options are those of `manage.py test`.

Without --browser, everything that needs no browser runs: first on SQLite, then on
PostgreSQL. The PostgreSQL server is installed with the development requirements and
started for the run; set TEST_DATABASE_URL to use another one.

With --browser, the browser tests run in Chromium, on SQLite. With --pictures, Chromium
takes the screenshots of the documentation.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tests.postgres import run_postgres

IN_MEMORY = "sqlite://:memory:"
CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)


def run_tests(title: str, database_url: str, arguments: Sequence[str]) -> int:
    """Run `manage.py test` on a database and return its exit status."""
    print(f"\n== {title}", flush=True)
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONWARNINGS": "error::DeprecationWarning:orgadmin",
    }
    command = [sys.executable, "manage.py", "test", "--parallel", "auto", *arguments]
    return subprocess.call(command, env=environment)


def run_without_browser(arguments: Sequence[str]) -> int:
    """Run the tests that need no browser on both databases."""
    selection = ["--exclude-tag", "browser", "--exclude-tag", "pictures"]
    sqlite_status = run_tests("SQLite", IN_MEMORY, [*selection, *arguments])
    with run_postgres() as url:
        postgres_status = run_tests("PostgreSQL", url, [*selection, *arguments])
    return sqlite_status or postgres_status


def run_in_browser(selection: Sequence[str], arguments: Sequence[str]) -> int:
    if CHROMIUM is None:
        sys.exit("Chromium is missing. To install it, run: apt-get install chromium")
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
