"""Measure a read replica while people write, and while servers fail.

    python -m benchmarks.replica [--writers 16] [--readers 64] [--seconds 60]

Starts a primary and a standby on this machine. Each writer saves an organization, again
and again; meanwhile, its member is removed and gets the role back. Readers open the
list of organizations as these members. No list may show an organization whose member
was removed before the request began, and no save may be lost that was reported as
saved: commits wait for the standby. Exit status 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
import psycopg
from urllib3.exceptions import HTTPError

from benchmarks.results import print_result
from tests.replicas import Pair, Server, run_pair
from tests.scratch import PROJECT
from tests.servers import LIST, Person, read_form, serve

SERVER_WORKERS = 3
TOKEN = "benchmark"
LAG = "10s"
WARM_UP = 5  # seconds

# How long a member is away, and then has the role again. A read takes seconds if many
# people read at once.
AWAY = 4  # seconds
BACK = 1  # second

# Settings of the server, and of the programs that prepare its database.
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.replica_settings",
    "EMAIL_URL": "smtp://127.0.0.1:9",  # nothing listens there
    "METRICS_TOKEN": TOKEN,
    "PYTHONWARNINGS": "ignore",
    "SECRET_KEY": "benchmarks",
}

CREATE_PEOPLE = """
import django

django.setup()

from tests.factories import create_organization, create_user

common = create_organization("Common")
for number in range({writers}):
    secret = create_organization(f"Secret {{number}}")
    create_user(f"writer-{{number}}", admin_of=[secret])
    create_user(f"reader-{{number}}", reviewer_of=[common, secret])
"""

FIND_MEMBERSHIP = """
    SELECT person.id, organization.reviewer_id, organization.id
    FROM orgadmin_user person, orgadmin_organization organization
    WHERE person.username = %s AND organization.name = %s
"""
REMOVE = "DELETE FROM orgadmin_user_groups WHERE user_id = %s AND group_id = %s"
GIVE_BACK = "INSERT INTO orgadmin_user_groups (user_id, group_id) VALUES (%s, %s)"
READ_SAVED = "SELECT phone FROM orgadmin_historicalorganization WHERE id = %s"


@dataclass(frozen=True)
class Read:
    """A list that a reader opened: when, and whether the organization was on it."""

    start: float
    end: float
    status: str
    shows_secret: bool


@dataclass
class Removal:
    """The period in which a member was certainly removed."""

    start: float
    end: float = float("inf")


@dataclass
class Site:
    """The database that accepts writes, and the server that people use."""

    primary: Server
    address: tuple[str, int] = ("", 0)
    are_writers_at_work: bool = True
    is_over: bool = False


class Reader(threading.Thread):
    def __init__(self, site: Site, number: int, cookies: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.number = number
        self.secret = f"Secret {number}<"
        self.cookies = cookies
        self.reads: list[Read] = []

    def run(self) -> None:
        person = Person(self.site.address, self.cookies)
        address = self.site.address
        while not self.site.is_over:
            if address != self.site.address:
                address = self.site.address
                person = Person(address, self.cookies)
            self.reads.append(self.read(person))

    def read(self, person: Person) -> Read:
        start = time.monotonic()
        try:
            response = person.get(LIST)
        except HTTPError:
            time.sleep(0.1)
            return Read(start, time.monotonic(), "no answer", False)
        shows_secret = self.secret in response.text
        return Read(start, time.monotonic(), str(response.status), shows_secret)


class Changer(threading.Thread):
    """A person who repeatedly changes something, and counts failures."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.number = number
        names = [f"reader-{number}", f"Secret {number}"]
        [row] = site.primary.execute(FIND_MEMBERSHIP, names)
        self.membership = row[:2]
        self.organization = row[2]
        self.errors: list[float] = []  # when they happened

    def run(self) -> None:
        while not self.site.is_over:
            if not self.site.are_writers_at_work:
                time.sleep(0.1)
                continue
            try:
                self.work()
            except (HTTPError, psycopg.Error):
                self.note_error()

    def work(self) -> None:
        raise NotImplementedError

    def note_error(self) -> None:
        self.errors.append(time.monotonic())
        time.sleep(0.1)


class Remover(Changer):
    """Removes the member of an organization, and gives the role back."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site, number)
        self.removals: list[Removal] = []

    def work(self) -> None:
        database = self.site.primary
        database.execute(REMOVE, self.membership)
        removal = Removal(time.monotonic())
        self.removals.append(removal)
        time.sleep(AWAY)
        removal.end = time.monotonic()
        database.execute(GIVE_BACK, self.membership)
        time.sleep(BACK)


class Writer(Changer):
    """Saves an organization with another phone number each time."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site, number)
        self.person = Person(site.address)
        assert self.person.sign_in(f"writer-{number}")
        self.saved: list[str] = []
        self.tries = 0

    def work(self) -> None:
        if self.person.pool.port != self.site.address[1]:
            self.person = Person(self.site.address, self.person.cookies)
        page = f"{LIST}{self.organization}/change/"
        form = self.person.get(page)
        if form.status != 200:
            self.note_error()
            return
        self.tries += 1
        phone = f"{self.number} {self.tries}"
        response = self.person.post(page, read_form(form.text) | {"phone": phone})
        if response.status == 302:
            self.saved.append(phone)
        else:
            self.note_error()

    def count_lost(self, database: Server) -> int:
        """Return how many saves are not in the database that were reported."""
        rows = database.execute(READ_SAVED, [self.organization])
        return len(set(self.saved) - {row[0] for row in rows})


class Measurement:
    def __init__(self, pair: Pair, options: argparse.Namespace) -> None:
        self.pair = pair
        self.options = options
        self.site = Site(pair.primary)
        self.readers: list[Reader] = []
        self.writers: list[Writer] = []
        self.removers: list[Remover] = []

    def list_people(self) -> list[Reader | Writer | Remover]:
        return [*self.writers, *self.removers, *self.readers]

    def run_program(self, *arguments: str) -> None:
        environment = os.environ | ENVIRONMENT | {"DATABASE_URL": self.pair.primary.url}
        command = [sys.executable, *arguments]
        subprocess.run(command, env=environment, cwd=PROJECT, check=True)

    def prepare(self) -> None:
        self.run_program("manage.py", "migrate", "--verbosity", "0")
        people = CREATE_PEOPLE.format(writers=self.options.writers)
        self.run_program("-c", people)

    @contextmanager
    def serving(self, database: Server, replica: Server | None) -> Iterator[None]:
        """Run the site on these databases for the duration of the context."""
        environment = os.environ | ENVIRONMENT | {"DATABASE_URL": database.url}
        if replica is not None:
            environment["DATABASE_REPLICA_URL"] = replica.url
        with serve(environment, SERVER_WORKERS) as server:
            self.site.address = server.address
            self.site.primary = database
            Person(server.address).get("/healthz")
            # Until everyone gets normal responses again.
            time.sleep(WARM_UP)
            yield

    def start_people(self) -> None:
        """Sign in everyone, and start them."""
        for number in range(self.options.writers):
            self.writers.append(Writer(self.site, number))
            self.removers.append(Remover(self.site, number))
        for number in range(self.options.readers):
            member = number % self.options.writers
            person = Person(self.site.address)
            assert person.sign_in(f"reader-{member}")
            self.readers.append(Reader(self.site, member, person.cookies))
        for thread in self.list_people():
            thread.start()

    def stop_people(self) -> None:
        self.site.is_over = True
        for thread in self.list_people():
            thread.join()

    def observe(self, what: str) -> float:
        """Watch for a while, print what happened, and return reads per second."""
        before = self.read_choices()
        cpu_before = measure_cpu(self.site.primary)
        start = time.monotonic()
        time.sleep(self.options.seconds)
        end = time.monotonic()
        cpu = measure_cpu(self.site.primary) - cpu_before
        after = self.read_choices()
        statuses: Counter[str] = Counter()
        slowest = 0.0
        for reader in self.readers:
            for read in list(reader.reads):
                if start <= read.end < end:
                    statuses[read.status] += 1
                    slowest = max(slowest, read.end - read.start)
        errors = 0
        for writer in self.writers:
            errors += sum(start <= moment < end for moment in list(writer.errors))
        per_second = statuses["200"] / (end - start)
        print_result(
            what,
            reads_per_second=round(per_second, 1),
            reads=dict(statuses),
            slowest_s=round(slowest, 2),
            primary_cpu_ms_per_read=round(1000 * cpu / max(1, statuses["200"]), 1),
            failed_saves=errors,
            choices={name: after[name] - before[name] for name in after},
        )
        return per_second

    def read_choices(self) -> Counter[str]:
        """Return how many requests have read which server."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        text = Person(self.site.address).ask("GET", "/metrics", headers=headers).text
        pattern = r'orgadmin_replica_requests_total\{choice="(\w+)"\} (\S+)'
        return Counter({name: int(float(n)) for name, n in re.findall(pattern, text)})

    def count_forbidden(self) -> tuple[int, int]:
        """Return how many reads began after a removal, and how many showed it."""
        checked = 0
        forbidden = 0
        for reader in self.readers:
            for removal in self.removers[reader.number].removals:
                for read in reader.reads:
                    if removal.start <= read.start and read.end <= removal.end:
                        checked += read.status == "200"
                        forbidden += read.shows_secret
        return checked, forbidden

    def list_reads(self) -> Iterator[Read]:
        for reader in self.readers:
            yield from reader.reads

    def set_lag(self, lag: str) -> None:
        standby = self.pair.standby
        standby.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = '{lag}'")
        standby.execute("SELECT pg_reload_conf()")

    def measure(self) -> int:
        """Go through all phases. Returns the exit status."""
        pair = self.pair
        with self.serving(pair.primary, None):
            self.site.are_writers_at_work = False
            self.start_people()
            alone = self.observe("reads, one server")
            self.site.are_writers_at_work = True
            alone_writing = self.observe("reads while others write, one server")
        with self.serving(pair.primary, pair.standby):
            self.site.are_writers_at_work = False
            both = self.observe("reads, two servers")
            self.site.are_writers_at_work = True
            both_writing = self.observe("reads while others write, two servers")
            self.set_lag(LAG)
            self.observe(f"a lag of {LAG}")
            self.set_lag("0")
            # Commits would wait for it.
            self.set_synchronous("")
            pair.standby.stop()
            self.observe("the replica is killed")
            pair.standby.start()
            pair.wait()
            self.set_synchronous("*")
            time.sleep(12)
            self.observe("the replica is back")
            pair.primary.stop()
            killed_at = time.monotonic()
            pair.standby.promote()
        with self.serving(pair.standby, None):
            seconds = round(time.monotonic() - killed_at - WARM_UP, 1)
            self.observe(f"the standby is promoted, {seconds} s after the kill")
            self.stop_people()
        return self.judge(both / alone, both_writing / alone_writing)

    def set_synchronous(self, names: str) -> None:
        primary = self.pair.primary
        primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        primary.execute("SELECT pg_reload_conf()")

    def judge(self, ratio: float, ratio_writing: float) -> int:
        checked, forbidden = self.count_forbidden()
        lost = sum(writer.count_lost(self.pair.standby) for writer in self.writers)
        print_result(
            "all",
            two_servers_ratio=round(ratio, 2),
            two_servers_ratio_writing=round(ratio_writing, 2),
            removals=sum(len(remover.removals) for remover in self.removers),
            reads_after_removal=checked,
            reads_of_revoked=forbidden,
            saves=sum(len(writer.saved) for writer in self.writers),
            lost_saves=lost,
            failed_saves=sum(len(writer.errors) for writer in self.writers),
            reads=dict(Counter(read.status for read in self.list_reads())),
        )
        return 1 if forbidden or lost or not checked else 0


def measure_cpu(server: Server) -> float:
    """Return how long the processes of a server have worked so far, in seconds."""
    seconds = 0.0
    for number, process in enumerate(server.list_processes()):
        # Connections may end in the meantime.
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
            if number == 0:
                # Those of connections that have ended.
                seconds += times.children_user + times.children_system
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60, help="of each phase")
    options = parser.parse_args()
    with run_pair(durable=True, synchronous=True) as pair:
        measurement = Measurement(pair, options)
        measurement.prepare()
        with suppress(KeyboardInterrupt):
            return measurement.measure()
    return 1


if __name__ == "__main__":
    sys.exit(main())
