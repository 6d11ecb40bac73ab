"""Databases of their own for tests that start processes, and may kill them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

PROJECT = Path(__file__).parents[1]
SETUP = "import django; django.setup()\n"


class Scratch:
    """A database, and processes that use it."""

    def __init__(self, url: str, name: str = "") -> None:
        self.name = name  # of the PostgreSQL database; empty on SQLite
        self.environment = os.environ | {
            "DATABASE_URL": url,
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python process in the project's folder.

        A single argument is the source of a program, which may use the models. Several
        arguments are a command, such as `"manage.py", "migrate"`.
        """
        if len(arguments) == 1:
            command = [sys.executable, "-c", SETUP + arguments[0]]
        else:
            command = [sys.executable, *arguments]
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=PROJECT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str) -> str:
        """Run a process as `start` does, and return what it printed.

        Raises `AssertionError`, with the standard error, if the process fails.
        """
        process = self.start(*arguments)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return output

    def migrate(self, *target: str) -> str:
        return self.run("manage.py", "migrate", *target)


@contextmanager
def scratch_database() -> Iterator[Scratch]:
    """Create an empty database, yield it, and drop it.

    It is on the same kind of database that the tests run on.
    """
    name = f"scratch_{uuid.uuid4().hex}"
    if connection.vendor == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield Scratch(f"sqlite:///{Path(folder, name)}")
        return
    url = urlsplit(os.environ["DATABASE_URL"])
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield Scratch(url._replace(path=f"/{name}").geturl(), name)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
