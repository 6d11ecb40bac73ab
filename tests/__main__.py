"""Run the tests: `python -m tests [--browser | --pictures] [labels and options of manage.py test]`.

Without --browser: everything that needs no browser, on SQLite and then on a real PostgreSQL, which comes as a wheel
and is started for the run; TEST_DATABASE_URL names another server. With --browser: the jobs that people do, in a real
Chromium, on SQLite.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)


@contextmanager
def postgres():
    """Start a PostgreSQL for the time of the context, unless TEST_DATABASE_URL names one; yield its URL."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    folder = tempfile.mkdtemp(prefix="orgadmin-postgres-")
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    import pgserver

    try:
        server = pgserver.get_server(
            os.path.join(folder, "data"), cleanup_mode="delete"
        )
    except Exception as error:
        sys.exit(
            f"PostgreSQL could not be started ({type(error).__name__}: {error}), so half of the tests did not run."
            " Name a server that runs with TEST_DATABASE_URL=postgres://USER:PASSWORD@HOST/NAME."
        )
    # Tests empty their tables all the time: an ANALYZE between fools the planner for minutes.
    server.psql("ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf()")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def run(database, url, arguments):
    print(f"\n== {database}", flush=True)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DEBUG": "true",
        "DATABASE_URL": url,
    }
    environment["PYTHONWARNINGS"] = "error::DeprecationWarning:orgadmin"
    return subprocess.call(
        [sys.executable, "manage.py", "test", "--parallel", "auto", *arguments],
        env=environment,
    )


def main(arguments):
    browser = {"--browser": "browser", "--pictures": "pictures"}.get(
        arguments[0] if arguments else ""
    )
    if browser:
        if CHROMIUM is None:
            sys.exit("Chromium is missing: apt-get install chromium")
        exclude = [] if browser == "pictures" else ["--exclude-tag", "pictures"]
        return run(
            "Chromium, SQLite",
            "sqlite://:memory:",
            ["--tag", browser, *exclude, *arguments[1:]],
        )
    arguments = ["--exclude-tag", "browser", "--exclude-tag", "pictures", *arguments]
    failed = run("SQLite", "sqlite://:memory:", arguments)
    with postgres() as url:
        return run("PostgreSQL", url, arguments) or failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
