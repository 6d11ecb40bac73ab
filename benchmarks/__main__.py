"""Measure everything at several sizes, on SQLite and on PostgreSQL.

    python -m benchmarks [--sizes 1000,10000] [--database sqlite] [--output FILE]

Each measure is a line of JSON, printed and added to the file, from which `python -m
benchmarks.pictures FILE` draws curves. The databases are created for the run, on the
PostgreSQL server that TEST_DATABASE_URL names or on one that is started for it. A
million organizations take about 4 GB of disk and half an hour.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.databases import SERVERS, Server

ORG_ADMINS = (1, 10, 1_000)  # numbers of organizations that they look after


@dataclass(frozen=True)
class Options:
    sizes: list[int]
    databases: list[str]
    pairs: int
    output: str


class Run:
    """The measures of one database of one size."""

    def __init__(self, options: Options, server: Server, size: int, url: str) -> None:
        self.options = options
        self.server = server
        self.size = size
        self.url = url

    def report(self, what: str, **values: Any) -> None:
        result = {"database": self.server.vendor, "size": self.size, "what": what}
        line = json.dumps(result | values)
        print(line, flush=True)
        with open(self.options.output, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def call(self, *arguments: str, **variables: str) -> float:
        """Run a Python command on the database, report its results, return its seconds.

        Each line of JSON that it prints is a result. Exits if the command fails.
        """
        environment = os.environ | {
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "PAIRS": str(self.options.pairs),
            "SECRET_KEY": "benchmarks",
            **variables,
        }
        start = time.perf_counter()
        command = [sys.executable, "-W", "ignore", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(done.stderr)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                self.report(**json.loads(line))
        return round(seconds, 2)

    def measure(self, small_url: str | None) -> None:
        """Fill the database and measure everything.

        `small_url` is the database of the smallest size, unless this is it.
        """
        self.report("fill", s=self.call("-m", "benchmarks.fill", str(self.size)))
        self.report("size on disk", mb=self.server.find_size(self.url))
        self.measure_pages(small_url)
        start = time.perf_counter()
        self.server.back_up(self.url)
        self.report("backup", s=round(time.perf_counter() - start, 2))
        self.measure_writing()
        backwards = self.call("manage.py", "migrate", "orgadmin", "0017")
        self.report("migration back to 0017", s=backwards)
        forwards = self.call("manage.py", "migrate", "orgadmin")
        self.report("migration from 0017 on", s=forwards)

    def measure_pages(self, small_url: str | None) -> None:
        parts = [str(number) for number in ORG_ADMINS if number <= self.size]
        variables = {}
        if small_url:
            variables["SMALL_DATABASE_URL"] = small_url
        self.call("-m", "benchmarks.pages", *parts, "staff", **variables)
        # Before anything is written: PostgreSQL would be busy with removing old rows.
        is_largest = self.size == max(self.options.sizes)
        if is_largest and self.server.vendor == "postgresql" and shutil.which("wrk"):
            self.call("-m", "benchmarks.http")

    def measure_writing(self) -> None:
        self.call("-m", "benchmarks.writing", "save", "name", "import", "delete")
        # These take long, and depend little on the size.
        if self.size < max(self.options.sizes):
            return
        self.call("-m", "benchmarks.writing", "bulk")
        if self.server.vendor == "postgresql":
            self.call("-m", "benchmarks.writers")


def parse_options() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        default="1000,10000,100000,1000000",
        help="numbers of organizations (default: %(default)s)",
    )
    parser.add_argument(
        "--database",
        action="append",
        choices=list(SERVERS),
        help="default: both; may be given more than once",
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=200,
        help="how often a page is measured at most (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        default="benchmarks.jsonl",
        help="the file that results are added to (default: %(default)s)",
    )
    given = parser.parse_args()
    return Options(
        sizes=[int(size) for size in given.sizes.split(",")],
        databases=given.database or list(SERVERS),
        pairs=given.pairs,
        output=given.output,
    )


def main() -> None:
    options = parse_options()
    for name in options.databases:
        with SERVERS[name]() as server:
            small_url = None
            for size in options.sizes:
                url = server.create_database(f"benchmark_{size}")
                Run(options, server, size, url).measure(small_url)
                small_url = small_url or url


if __name__ == "__main__":
    main()
