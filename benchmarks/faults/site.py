"""A database, a server in front of it, and people at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.faults.disks import mount_memory, unmount
from benchmarks.faults.people import BUSY, GOOD, NO_ANSWER, Changer, Worker, Writer
from tests.scratch import PROJECT
from tests.servers import serve

WRITERS = 3
READERS = 3
SERVER_WORKERS = 3
PATIENCE = 60  # seconds until everyone must get normal responses again

# Ids of organizations. The first ones belong to a writer each.
MEMBERS_ORGANIZATION = WRITERS + 1  # where the roles change
LOCKED_ORGANIZATION = WRITERS + 2

CREATE_PEOPLE = f"""
import django

django.setup()

from tests.factories import create_organization, create_superuser, create_user

organizations = [create_organization("Acme") for _ in range({WRITERS} + 2)]
create_superuser()
create_user("member", admin_of=[organizations[-2]])
for number in range({WRITERS}):
    create_user(f"user-{{number}}", admin_of=organizations)
"""


@dataclass(frozen=True)
class Fault:
    name: str
    # Causes the fault, waits until it is over, and may return a remark for the table.
    cause: Callable[[], str | None]
    # A pattern that the log must contain afterwards, or "".
    logged: str = ""


class Site:
    def __init__(
        self,
        folder: Path,
        pool: int,
        label: str = "",
        mount_disk: Callable[[Path], bool] = mount_memory,
    ) -> None:
        # pgserver reads the environment when it is imported.
        import pgserver

        self.folder = folder
        self.pool = pool
        self.label = label or str(pool)
        self.is_over = False
        self.problems: list[str] = []
        self.people: list[Worker] = []
        # Put before the command of the server, such as "unshare".
        self.prefix: list[str] = []
        self.disk = folder / "disk"
        self.disk.mkdir()
        # Without the right to mount, disks cannot be full.
        self.has_disk = mount_disk(self.disk)
        data = self.disk / "data"
        self.postgres = pgserver.get_server(data, cleanup_mode="delete")
        self.url = self.postgres.get_uri()
        self.environment = os.environ | {
            "DATABASE_URL": self.url,
            "DATABASE_POOL": str(pool),
            "DJANGO_SETTINGS_MODULE": "benchmarks.logged",
            "EMAIL_URL": "smtp://127.0.0.1:9",  # nothing listens there
            "PYTHONWARNINGS": "ignore",
            "SECRET_KEY": "benchmarks",
        }
        self.run("manage.py", "migrate", "--verbosity", "0")
        self.run("-c", CREATE_PEOPLE)
        self.member = self.find_user("member")

    def close(self) -> None:
        self.is_over = True
        try:
            self.postgres.cleanup()
        finally:
            # A disk that stays mounted cannot be deleted.
            if self.has_disk:
                unmount(self.disk)

    def run(self, *arguments: str) -> None:
        """Run a Python command. Raises `AssertionError` if it fails."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def find_user(self, username: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT id FROM orgadmin_user WHERE username = %s", [username]
            ).fetchone()
        return row[0]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run the server, and let people work, for the duration of the context."""
        with (
            open(self.folder / "log", "w") as log,
            serve(self.environment, SERVER_WORKERS, log, self.prefix) as self.server,
        ):
            self.address = self.server.address
            self.people = self.hire_people()
            for person in self.people:
                person.start()
            yield
            self.is_over = True
            for person in self.people:
                person.join()

    def hire_people(self) -> list[Worker]:
        people: list[Worker] = []
        for number in range(WRITERS):
            people.append(Writer(self, f"user-{number}", number + 1))
        for number in range(READERS):
            people.append(Worker(self, f"user-{number % WRITERS}", number + 1))
        people.append(Changer(self, "root", MEMBERS_ORGANIZATION))
        return people

    def read_log(self) -> list[dict[str, Any]]:
        """Return the lines of the log. A line that is not JSON is a problem."""
        lines = []
        strange = []
        for line in (self.folder / "log").read_text().splitlines():
            if line.startswith("{"):
                lines.append(json.loads(line))
            else:
                strange.append(line)
        if strange:
            self.problems.append(
                f"{len(strange)} lines of the log are not JSON, such as {strange[0]!r}"
            )
        return lines

    def observe(self, fault: Fault) -> None:
        """Cause a fault, and print what people noticed."""
        lines_before = len(self.read_log())
        start = time.monotonic()
        remark = fault.cause() or ""
        end = time.monotonic()
        recovery = self.wait_for_recovery(fault, end)
        outcomes = self.count_outcomes(start, recovery)
        longest = self.find_longest_wait(start, recovery)
        unexpected = [label for label in outcomes if label.endswith("!")]
        if unexpected:
            labels = ", ".join(unexpected)
            self.problems.append(f"{fault.name}: people were answered {labels}")
        time.sleep(0.5)  # until the log is written
        self.check_log(fault, self.read_log()[lines_before:], outcomes[BUSY])
        cells = [f"{self.label:>4}", f"{fault.name:<36}"]
        for label in (GOOD, BUSY, NO_ANSWER, *unexpected):
            cells.append(f"{outcomes[label]:>9}")
        cells += [f"{longest:>8.1f}", f"{recovery - end:>10.1f}"]
        print("  ".join([*cells, remark]), flush=True)

    def wait_for_recovery(self, fault: Fault, end: float) -> float:
        """Wait until everyone gets normal responses again, and return the time."""
        while time.monotonic() < end + PATIENCE:
            served = [find_first_good(person, end) for person in self.people]
            if None not in served:
                return max(served)
            time.sleep(0.2)
        self.problems.append(f"{fault.name}: someone was not served again")
        return end + PATIENCE

    def count_outcomes(self, start: float, end: float) -> Counter[str]:
        counts: Counter[str] = Counter()
        for person in self.people:
            for outcome in list(person.outcomes):
                if start < outcome.time <= end:
                    counts[outcome.label] += 1
        return counts

    def find_longest_wait(self, start: float, end: float) -> float:
        """Return the duration of the longest request in seconds, with any response."""
        return max(
            outcome.seconds
            for person in self.people
            for outcome in list(person.outcomes)
            if start < outcome.time <= end
        )

    def check_log(
        self, fault: Fault, lines: list[dict[str, Any]], busy_answers: int
    ) -> None:
        logged = sum(line.get("status") == 503 for line in lines)
        if logged < busy_answers:
            self.problems.append(
                f"{fault.name}: of {busy_answers} answers with status 503, {logged} are"
                " in the log"
            )
        texts = [json.dumps(line) for line in lines]
        if fault.logged and not any(re.search(fault.logged, text) for text in texts):
            self.problems.append(f"{fault.name}: {fault.logged!r} is not in the log")

    def check_saved(self) -> None:
        """Look in the database for everything that people were told was saved."""
        lost = 0
        saved = 0
        with psycopg.connect(self.url) as connection:
            for person in self.people:
                lost += len(set(person.saved) - person.read_saved(connection))
                saved += len(person.saved)
        print(
            f"{self.label:>4}  {saved} changes reported as saved, {lost} of them lost"
        )
        if lost or not saved:
            self.problems.append(f"{lost} of {saved} changes are lost")
        try:
            # Otherwise, the doctor reports that no worker is running.
            self.run("manage.py", "worker", "--once")
            self.run("manage.py", "doctor")
        except AssertionError as error:
            self.problems.append(f"doctor: {error}")

    def count_good_per_second(self, start: float, end: float) -> float:
        return self.count_outcomes(start, end)[GOOD] / (end - start)


def find_first_good(person: Worker, after: float) -> float | None:
    """Return the time of the first good outcome after a moment."""
    for outcome in list(person.outcomes):
        if outcome.time > after and outcome.label == GOOD:
            return outcome.time
    return None
