"""A database of its own for a test, of the kind that the run is on, for processes that are started, and killed."""

import os
import subprocess
import sys
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

PROJECT = Path(__file__).parents[1]
SETUP = "import django; django.setup()\n"


class Scratch:
    def __init__(self, url, name=""):
        self.name = name
        self.environment = os.environ | {
            "DATABASE_URL": url,
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }

    def start(self, *command):
        """Start a process in the project's folder; a text that is no command is Python that uses the models."""
        command = [
            sys.executable,
            *(command if len(command) > 1 else ("-c", SETUP + command[0])),
        ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, env=self.environment, cwd=PROJECT, text=True, **pipes
        )

    def run(self, *command):
        """Run it to its end; return what it printed. Raises AssertionError with the errors where it failed."""
        process = self.start(*command)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out

    def migrate(self, *target):
        return self.run("manage.py", "migrate", *target)


@contextmanager
def scratch_database():
    """Create an empty database, yield a Scratch, and drop it."""
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
