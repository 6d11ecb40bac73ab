"""A primary and a standby that follows it, both PostgreSQL servers on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

DATABASE = "orgadmin"
PATIENCE = 30  # seconds

# Two servers share a small machine.
SETTINGS = {
    "autovacuum": "off",
    "hot_standby_feedback": "on",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "unix_socket_permissions": "0777",
}
SETTINGS_WITHOUT_DISK = {"fsync": "off", "full_page_writes": "off"}


class Server:
    """A PostgreSQL server that listens on a socket in its folder."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.user = user  # of the system, or None for the one that runs the tests

    @property
    def url(self) -> str:
        return f"postgres://postgres@/{DATABASE}?host={self.folder}"

    def run(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs. It may leave a server behind."""
        from pgserver import _commands

        program = getattr(_commands, name)
        program([*arguments], pgdata=self.data, user=self.user, timeout=PATIENCE)

    def start(self) -> None:
        options = f"-h '' -k {self.folder}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-w", "-o", options, "-l", log, "start")

    def stop(self) -> None:
        """Stop the server as if its machine lost power, unless it is stopped."""
        if self.data.joinpath("postmaster.pid").exists():
            self.run("pg_ctl", "-w", "-m", "immediate", "stop")

    def promote(self) -> None:
        self.run("pg_ctl", "-w", "promote")

    def list_processes(self) -> list[psutil.Process]:
        pid = int(self.data.joinpath("postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Pause the server. Its connections stay open."""
        processes = self.list_processes()
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)

    def execute(
        self, sql: str, parameters: Any = None, *, database: str = DATABASE
    ) -> list[tuple[Any, ...]]:
        """Execute a statement in a transaction of its own, and return the rows."""
        with psycopg.connect(
            host=str(self.folder), user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def read(self, sql: str, parameters: Any = None) -> Any:
        """Return the only value that a statement returns."""
        [[value]] = self.execute(sql, parameters)
        return value


@dataclass(frozen=True)
class Pair:
    primary: Server
    standby: Server

    def wait(self) -> None:
        """Wait until the standby has replayed everything that was committed."""
        position = self.primary.read("SELECT pg_current_wal_flush_lsn()::text")
        deadline = time.monotonic() + PATIENCE
        while not self.standby.read(
            "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]
        ):
            assert time.monotonic() < deadline, "The standby does not follow."
            time.sleep(0.01)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the standby from replaying changes while the context lasts."""
        self.wait()
        self.standby.execute("SELECT pg_wal_replay_pause()")
        while self.standby.read("SELECT pg_get_wal_replay_pause_state()") != "paused":
            time.sleep(0.01)
        try:
            yield
        finally:
            self.standby.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def run_pair(*, durable: bool = False, synchronous: bool = False) -> Iterator[Pair]:
    """Start a primary with an empty database, and a standby.

    If `durable`, commits wait for the disk; if `synchronous`, for the standby, too.
    """
    folder = Path(tempfile.mkdtemp(prefix="orgadmin-replica-"))
    user = prepare_user(folder)
    primary = Server(folder / "primary", user)
    standby = Server(folder / "standby", user)
    try:
        for server in (primary, standby):
            server.folder.mkdir()
            if user is not None:
                shutil.chown(server.folder, user)
        create_primary(primary, durable=durable)
        create_standby(standby, primary)
        if synchronous:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
        yield Pair(primary, standby)
    finally:
        for server in (standby, primary):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def prepare_user(folder: Path) -> str | None:
    """Return the user of the system that runs the servers: root may not."""
    if os.geteuid() != 0:
        return None
    from pgserver import utils
    from pgserver._commands import POSTGRES_BIN_PATH

    user = "pgserver"
    utils.ensure_user_exists(user)
    utils.ensure_prefix_permissions(POSTGRES_BIN_PATH)
    folder.chmod(0o755)
    return user


def create_primary(primary: Server, *, durable: bool) -> None:
    primary.run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres")
    settings = SETTINGS if durable else SETTINGS | SETTINGS_WITHOUT_DISK
    write_settings(primary, settings)
    primary.start()
    primary.execute(f"CREATE DATABASE {DATABASE}", database="postgres")


def create_standby(standby: Server, primary: Server) -> None:
    """Copy a server, and let the copy follow it. Its settings are copied, too."""
    source = f"host={primary.folder} user=postgres application_name=standby"
    options = ("--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf")
    standby.run("pg_basebackup", f"--dbname={source}", *options)
    standby.start()


def write_settings(server: Server, settings: Mapping[str, str]) -> None:
    with server.data.joinpath("postgresql.conf").open("a") as file:
        for name, value in settings.items():
            file.write(f"{name} = {value}\n")


def copy_database(source: str, target: Server, *, path: str) -> None:
    """Copy a database into the empty one of a server, with the tools on `path`."""
    environment = os.environ | {"PATH": path}
    dump = subprocess.Popen(
        ["pg_dump", "--no-owner", "--dbname", source],
        env=environment,
        stdout=subprocess.PIPE,
    )
    options = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1"]
    subprocess.run(
        ["psql", *options, "--dbname", target.url],
        env=environment,
        stdin=dump.stdout,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert dump.wait() == 0
