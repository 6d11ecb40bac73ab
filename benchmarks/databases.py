"""The databases that a run of the benchmarks fills and measures."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

from tests.postgres import find_tools_path, run_postgres


class Server(Protocol):
    vendor: str

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""

    def find_size(self, url: str) -> int:
        """Return the megabytes that a database takes on disk."""

    def back_up(self, url: str) -> None:
        """Make a backup and throw it away."""


class SQLite:
    vendor = "sqlite"

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def create_database(self, name: str) -> str:
        return f"sqlite:///{self.folder}/{name}"

    def find_size(self, url: str) -> int:
        with closing(sqlite3.connect(urlsplit(url).path)) as connection:
            (page_count,) = connection.execute("PRAGMA page_count").fetchone()
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        return page_count * page_size // 2**20

    def back_up(self, url: str) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(sqlite3.connect(urlsplit(url).path)) as connection,
        ):
            connection.execute("VACUUM INTO ?", [f"{folder}/copy"])


class PostgreSQL:
    vendor = "postgresql"

    def __init__(self, url: str) -> None:
        self.url = url

    def create_database(self, name: str) -> str:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def find_size(self, url: str) -> int:
        with psycopg.connect(url) as connection:
            (size,) = connection.execute(
                "SELECT pg_database_size(current_database())"
            ).fetchone()
        return size // 2**20

    def back_up(self, url: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ["pg_dump", "--format=custom", f"--file={folder}/copy", url],
                env=os.environ | {"PATH": find_tools_path()},
                check=True,
            )


@contextmanager
def use_sqlite() -> Iterator[SQLite]:
    with tempfile.TemporaryDirectory() as folder:
        yield SQLite(folder)


@contextmanager
def use_postgres() -> Iterator[PostgreSQL]:
    with run_postgres(durable=True) as url:
        yield PostgreSQL(url)


def measure_on_both(measure: Callable[[str], bool], *, durable: bool) -> bool:
    """Call a function with the URL of an empty database: on SQLite, then on PostgreSQL.

    Returns whether both calls returned True. `durable` is as for `run_postgres`.
    """
    with tempfile.TemporaryDirectory() as folder:
        is_good_on_sqlite = measure(f"sqlite:///{folder}/database")
    with run_postgres(durable) as url:
        is_good_on_postgres = measure(url)
    return is_good_on_sqlite and is_good_on_postgres


SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "sqlite": use_sqlite,
    "postgresql": use_postgres,
}
