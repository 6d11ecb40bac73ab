"""Connect to, copy and migrate the database that is upgraded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg


def connect(url: str, **options: Any) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None, **options)


def checkpoint(url: str) -> None:
    """Write everything to disk, so that the next statement starts from rest."""
    with connect(url) as connection:
        connection.execute("CHECKPOINT")


def run(url: str, sql: str, *parameters: Any) -> float:
    """Run a statement and return its seconds."""
    checkpoint(url)
    with connect(url) as connection:
        start = time.perf_counter()
        connection.execute(sql, parameters or None)
        return round(time.perf_counter() - start, 2)


def ask(url: str, sql: str) -> tuple[Any, ...]:
    """Run a query and return its only row."""
    with connect(url) as connection:
        return connection.execute(sql).fetchone()


@dataclass(frozen=True)
class Migration:
    """What a migration took."""

    seconds: float
    peak_megabytes: int
    times_tried_again: int

    def as_figures(self) -> dict[str, Any]:
        return {
            "s": self.seconds,
            "peak, MB": self.peak_megabytes,
            "tried again": self.times_tried_again,
        }


def migrate(url: str, *target: str) -> Migration:
    """Migrate in a process of its own. Exits if that fails."""
    environment = os.environ | {
        "DATABASE_URL": url,
        "DEBUG": "false",
        "SECRET_KEY": "benchmarks",
    }
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "manage.py", "migrate", *target],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = process.stdout.read()
    # Unlike process.wait(), this tells how much memory the process used.
    _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        sys.exit(printed)
    return Migration(
        seconds=round(time.perf_counter() - start, 2),
        peak_megabytes=usage.ru_maxrss // 1024,
        times_tried_again=printed.count("Trying again"),
    )


@contextmanager
def copy(url: str) -> Iterator[str]:
    """Copy a database that nobody uses, and yield the URL of the copy."""
    parts = urlsplit(url)
    server_url = parts._replace(path="/postgres").geturl()
    name = parts.path.removeprefix("/")
    run(server_url, f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
    try:
        yield parts._replace(path=f"/{name}_copy").geturl()
    finally:
        run(server_url, f'DROP DATABASE "{name}_copy" WITH (FORCE)')
