"""Databases of their own for tests that start processes, and may kill them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

from django.apps import apps
from django.core.management import execute_from_command_line
from django.db import DEFAULT_DB_ALIAS, connection, connections

from tests.fork import Fork

# The environment variable that tells processes of the tests what to copy: the path of a
# file on SQLite, the name of a database on PostgreSQL.
TEMPLATE = "SCRATCH_TEMPLATE"

PROJECT = Path(__file__).parents[1]
SETUP = "import django; django.setup()\n"


class Program(subprocess.Popen[str]):
    """A Python process in the project's folder.

    Its errors go to a file, because nobody reads them while it runs. It would stop as
    soon as a pipe is full.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.error_file = tempfile.TemporaryFile("w+")  # noqa: SIM115
        super().__init__(
            command,
            env=env,
            cwd=PROJECT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=self.error_file,
        )

    def communicate(  # type: ignore[override]
        self, *, timeout: float | None = None
    ) -> tuple[str, str]:
        """Wait for the end. Returns what the process printed, and its errors."""
        output, _nothing = super().communicate(timeout=timeout)
        with self.error_file:
            self.error_file.seek(0)
            errors = self.error_file.read()
        return output, errors


class Scratch:
    """A database, and processes that use it."""

    def __init__(self, url: str) -> None:
        self.environment = os.environ | {
            "DATABASE_URL": url,
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }

    def start(self, *arguments: str) -> Program | Fork:
        """Start a Python process in the project's folder.

        A single argument is the source of a program, which may use the models. Several
        arguments are a command, such as `"manage.py", "migrate"`.
        """
        if len(arguments) == 1:
            command = [sys.executable, "-c", SETUP + arguments[0]]
        else:
            command = [sys.executable, *arguments]
        return Program(command, env=self.environment)

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


class ScratchOfTest(Scratch):
    """A database whose processes are copies of the one that runs the tests.

    They need not start Python and Django, which takes a second. Like other processes,
    they have connections of their own, and can be killed.
    """

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url)
        self.name = name  # of the database on PostgreSQL; the path on SQLite

    def start(self, *arguments: str) -> Fork:
        if len(arguments) == 1:
            return Fork(partial(self.run_program, arguments[0]))
        return Fork(partial(self.run_command, arguments))

    def run_program(self, source: str) -> None:
        os.environ.update(self.environment)
        with self.connected():
            exec(source, {"__name__": "__main__"})

    def run_command(self, arguments: Sequence[str]) -> None:
        os.environ.update(self.environment)
        with self.connected():
            execute_from_command_line(list(arguments))

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect this process to the database for the duration of the context."""
        inherited = connections[DEFAULT_DB_ALIAS]
        settings = connections.settings[DEFAULT_DB_ALIAS]
        connections.settings[DEFAULT_DB_ALIAS] = {
            **inherited.settings_dict,
            "NAME": self.name,
        }
        connections[DEFAULT_DB_ALIAS] = connections.create_connection(DEFAULT_DB_ALIAS)
        # The keys of the content types may differ.
        content_types = apps.get_model("contenttypes", "ContentType").objects
        content_types.clear_cache()
        try:
            yield
        finally:
            connections[DEFAULT_DB_ALIAS].close()
            connections[DEFAULT_DB_ALIAS] = inherited
            connections.settings[DEFAULT_DB_ALIAS] = settings
            content_types.clear_cache()


@contextmanager
def scratch_database(*, is_migrated: bool = True) -> Iterator[Scratch]:
    """Create a database, yield it, and drop it.

    The database uses the same engine as the tests. If `is_migrated`, it has empty
    tables, as after the last migration. Otherwise, it has no tables.
    """
    name = f"scratch_{uuid.uuid4().hex}"
    template = os.environ[TEMPLATE] if is_migrated else ""
    if connection.vendor == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            if template:
                shutil.copyfile(template, path)
            yield ScratchOfTest(f"sqlite:///{path}", str(path))
        return
    url = urlsplit(os.environ["DATABASE_URL"])
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template1'}")
    try:
        yield ScratchOfTest(url._replace(path=f"/{name}").geturl(), name)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def template_of_scratch_databases() -> Iterator[None]:
    """Copy the database of the tests, which nobody has used yet.

    `scratch_database()` copies the copy, which is faster than migrating each time.
    """
    if connection.vendor == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "template"))
            with connection.cursor() as cursor:
                cursor.execute("VACUUM INTO %s", [path])
            with mock.patch.dict(os.environ, {TEMPLATE: path}):
                yield
        return
    tested = connection.settings_dict["NAME"]
    name = f"{tested}_template"
    # Nobody may be connected to a database that is copied.
    connection.close()
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {tested}")
    try:
        with mock.patch.dict(os.environ, {TEMPLATE: name}):
            yield
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")
