"""Measure everything at several sizes, on SQLite and on PostgreSQL, against the usual way and the floor.

    python -m benchmarks [--sizes 1000,10000,100000,1000000] [--database sqlite] [--pairs 200] [--output FILE]

Each measure is a line of JSON, printed and added to the file; `python -m benchmarks.pictures FILE` draws the curves.
The databases are made for the run, on the server that TEST_DATABASE_URL names or on one that is started for it.
A million organizations take some 4 GB of disk and half an hour."""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.postgres import run_postgres as postgres


class Run:
    def __init__(self, options):
        self.options, self.database, self.size = options, "", 0

    def tell(self, line):
        line = {"database": self.database, "size": self.size, **line}
        print(json.dumps(line), flush=True)
        with open(self.options.output, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def call(self, url, *command, **environment):
        """Run a command of this project; tell each line of JSON that it prints; return its seconds."""
        values = {
            "SECRET_KEY": "benchmarks",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "DATABASE_URL": url,
        }
        values |= {"PAIRS": str(self.options.pairs), **environment}
        start = time.perf_counter()
        command = [sys.executable, "-W", "ignore", *command]
        done = subprocess.run(
            command, env=os.environ | values, capture_output=True, text=True
        )
        seconds = round(time.perf_counter() - start, 2)
        if done.returncode:
            sys.exit(done.stderr)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                self.tell(json.loads(line))
        return seconds

    def measure(self, url, small):
        self.tell(
            {
                "what": "fill",
                "s": self.call(url, "-m", "benchmarks.fill", str(self.size)),
            }
        )
        self.tell({"what": "size on disk", "mb": self.find_size(url)})
        people = [str(number) for number in (1, 10, 1_000) if number <= self.size]
        self.call(
            url,
            "-m",
            "benchmarks.pages",
            *people,
            "staff",
            **({"SMALL_DATABASE_URL": small} if small else {}),
        )
        self.tell({"what": "backup", "s": self.back_up(url)})
        self.call(url, "-m", "benchmarks.writing", "save", "name", "import", "delete")
        if self.size == max(self.options.sizes):
            self.call(url, "-m", "benchmarks.writing", "bulk")
        if self.size == max(self.options.sizes) and self.database == "postgresql":
            self.call(url, "-m", "benchmarks.writers")
            if shutil.which("wrk"):
                self.call(url, "-m", "benchmarks.http")
        self.tell(
            {
                "what": "migration back to 0017",
                "s": self.call(url, "manage.py", "migrate", "orgadmin", "0017"),
            }
        )
        self.tell(
            {
                "what": "migration from 0017 on",
                "s": self.call(url, "manage.py", "migrate", "orgadmin"),
            }
        )

    def find_size(self, url):
        if self.database == "sqlite":
            with closing(sqlite3.connect(urlsplit(url).path)) as connection:
                pages, size = (
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "page_size")
                )
                return pages * size // 2**20
        import psycopg

        with psycopg.connect(url) as connection:
            return connection.execute(
                "SELECT pg_database_size(current_database()) / 1048576"
            ).fetchone()[0]

    def back_up(self, url):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            if self.database == "sqlite":
                program = f"import sqlite3; sqlite3.connect({urlsplit(url).path!r}).execute('VACUUM INTO ?', ['copy'])"
                subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
            else:
                subprocess.run(
                    [find_pg_dump(), "--format=custom", f"--file={folder}/copy", url],
                    check=True,
                )
        return round(time.perf_counter() - start, 2)

    @contextmanager
    def databases(self):
        """Yield a function that makes a database and returns its URL."""
        if self.database == "sqlite":
            with tempfile.TemporaryDirectory() as folder:
                yield lambda name: f"sqlite:///{folder}/{name}"
            return
        import psycopg

        with postgres() as server:

            def create(name):
                with psycopg.connect(server, autocommit=True) as connection:
                    connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                    connection.execute(f"CREATE DATABASE {name}")
                return urlsplit(server)._replace(path=f"/{name}").geturl()

            yield create

    def run(self):
        for database in self.options.database:
            self.database = database
            with self.databases() as create:
                small = None
                for size in self.options.sizes:
                    self.size, url = size, create(f"benchmark_{size}")
                    self.measure(url, small)
                    small = small or url


def find_pg_dump():
    import pgserver

    beside = Path(pgserver.__file__).parent / "pginstall/bin/pg_dump"
    return str(beside) if beside.exists() else "pg_dump"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--output", default="benchmarks.jsonl")
    options = parser.parse_args()
    options.sizes = [int(size) for size in options.sizes.split(",")]
    options.database = options.database or ["sqlite", "postgresql"]
    Run(options).run()
