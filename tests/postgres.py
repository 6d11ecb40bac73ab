"""The PostgreSQL that tests and benchmarks run on, and the tools that belong to it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Tests empty their tables all the time. An ANALYZE at such a moment would mislead the
# query planner for minutes.
SETTINGS = {"autovacuum": "off"}

# Each commit writes to memory only. If the machine crashes, the database is lost.
SETTINGS_WITHOUT_DISK = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


@contextmanager
def run_postgres(durable: bool = False) -> Iterator[str]:
    """Start a PostgreSQL server for the duration of the context, and yield its URL.

    With `durable`, commits wait for the disk, as in production. Measurements need it.
    If TEST_DATABASE_URL is set, that server is used instead, and nothing is started.
    Exits with a message if the server cannot be started.
    """
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        yield url
        return
    folder = tempfile.mkdtemp(prefix="orgadmin-postgres-")
    server = _start_server(folder)
    settings = SETTINGS if durable else SETTINGS | SETTINGS_WITHOUT_DISK
    for name, value in settings.items():
        server.psql(f"ALTER SYSTEM SET {name} = {value}")
    server.psql("SELECT pg_reload_conf()")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _start_server(folder: str):
    # pgserver keeps its locks in this folder, and reads the variable when imported.
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    import pgserver

    data_folder = os.path.join(folder, "data")
    try:
        return pgserver.get_server(data_folder, cleanup_mode="delete")
    except Exception as error:
        sys.exit(
            f"PostgreSQL could not be started ({type(error).__name__}: {error})."
            " To use a server that is already running, set"
            " TEST_DATABASE_URL=postgres://USER:PASSWORD@HOST/NAME."
        )


def find_tools_path() -> str:
    """Return a PATH on which pg_dump and pg_restore fit the server of the tests."""
    path = os.environ["PATH"]
    if os.environ.get("TEST_DATABASE_URL"):
        return path
    import pgserver

    tools_folder = Path(pgserver.__file__).parent / "pginstall" / "bin"
    return f"{tools_folder}{os.pathsep}{path}"
