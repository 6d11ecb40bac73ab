"""Repeatedly send the largest texts that the site accepts, and watch its memory.

    python -m benchmarks.memory [TIMES]

Runs gunicorn with one worker, first on SQLite and then on PostgreSQL. One organization
is saved, and a role in it is changed, TIMES times, each time with the longest texts of
four bytes per character. As many organizations with such texts exist. Meanwhile, each
page that shows them is read, and at the end by four people at once. Prints the peak
memory of the worker after each part, in megabytes. The exit status is 1 if it exceeded
LIMIT, or if a page failed.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from benchmarks.databases import measure_on_both
from benchmarks.results import print_result
from tests.scratch import Scratch
from tests.servers import LIST, LOGIN, Person, read_form, serve

LIMIT = 200  # megabytes of a worker
TIMES = 5_000
READS = 20  # how often all pages are read while texts are sent
THREADS = 4  # of a worker, in docs/deployment/gunicorn.conf.py
SIGN_IN_AGAIN = 4 * 60  # seconds: some pages ask for a recent sign-in

# The longest texts. Each character takes four bytes, as UTF-8 and in Python.
NOTES = "\N{GRINNING FACE}" * 19_990
ADDRESS = "\N{GRINNING FACE}" * 990
REASON = "\N{GRINNING FACE}" * 490

PAGE = f"{LIST}1/change/"
PEOPLE = f"{LIST}1/people/"
HISTORY = f"{LIST}1/history/"
LOG = f"{LIST}1/ledger/"

FILL = f"""
from orgadmin.models import Organization
from tests.factories import ADMIN, create_superuser, create_user, set_role

create_superuser()
acme = Organization.objects.create(name="Acme")
set_role(acme, [create_user("ada"), create_user("bert")], ADMIN)
texts = {{"notes": "{NOTES[0]}" * {len(NOTES)}, "address": "{NOTES[0]}" * 990}}
for start in range(0, TIMES, 100):
    Organization.objects.bulk_create(
        Organization(name=f"Company {{start + number}}", **texts)
        for number in range(min(100, TIMES - start))
    )
"""


@dataclass
class Site:
    """A running server, and someone who uses it."""

    address: tuple[str, int]
    worker: int  # the ID of its process
    signed_in: float = 0
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.person = Person(self.address)

    def sign_in(self) -> None:
        """Sign in, unless that was a short time ago."""
        if time.monotonic() - self.signed_in < SIGN_IN_AGAIN:
            return
        assert self.person.sign_in("root")
        self.signed_in = time.monotonic()

    def save_organization(self, number: int) -> None:
        form = read_form(self.person.get(PAGE).text)
        form |= {"notes": f"{number:06} {NOTES}", "address": f"{number:06} {ADDRESS}"}
        self.post(PAGE, form)

    def change_role(self, number: int) -> None:
        role = "reviewer" if number % 2 == 0 else "admin"
        reason = f"{number:06} {REASON}"
        form = {"user": "2", "role": role, "reason": reason, "confirmed": "1"}
        self.post(PEOPLE, form)

    def post(self, path: str, form: dict[str, str]) -> None:
        response = self.person.post(path, form)
        if response.status != 302:
            self.failures.append(f"POST {path}: {response.status}")

    def read(self, path: str) -> int:
        """Read a page piece by piece, and return its size in bytes."""
        size = 0
        cookies = self.person.cookies.items()
        cookie = "; ".join(f"{name}={value}" for name, value in cookies)
        pool = Person(self.address).pool
        response = pool.request(
            "GET",
            path,
            headers={"Cookie": cookie},
            preload_content=False,
            redirect=False,
        )
        for piece in response.stream(2**16):
            size += len(piece)
        if response.status != 200:
            self.failures.append(f"GET {path}: {response.status}")
        return size

    def find_older(self) -> str:
        """Return the path of the second page of the history."""
        text = self.person.get(HISTORY).text
        if "?before=" not in text:
            return HISTORY
        return f"{HISTORY}?before={text.split('?before=')[1].split(chr(34))[0]}"

    def find_peak(self) -> int:
        """Return the most memory that the worker has had, in megabytes."""
        status = Path(f"/proc/{self.worker}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return round(int(line.split()[1]) / 1024)


def list_pages(site: Site) -> dict[str, str]:
    return {
        "list": LIST,
        "change page": PAGE,
        "history": HISTORY,
        "older history": site.find_older(),
        "membership log": LOG,
        "membership log of all": "/admin/orgadmin/membershipevent/",
        "file of the membership log": f"{LOG}?csv=1",
        "people": PEOPLE,
        "export": f"{LIST}export/",
        "home page": "/admin/",
    }


def measure(url: str, times: int) -> bool:
    """Print the memory of the worker, and return whether it stayed below the limit."""
    scratch = Scratch(url)
    scratch.environment |= {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "SECRET_KEY": "benchmarks",
        "DEBUG": "false",
    }
    scratch.migrate("--verbosity", "0")
    scratch.run(FILL.replace("TIMES", str(times)))
    with serve(scratch.environment, workers=1) as server:
        Person(server.address).get(LOGIN)
        [worker] = psutil.Process(server.pid).children()
        site = Site(server.address, worker.pid)
        site.sign_in()
        database = url.partition(":")[0]
        report(site, database, "start")
        send_texts(site, times)
        report(site, database, "texts sent")
        for name, path in list_pages(site).items():
            size = site.read(path)
            report(site, database, name, kB=round(size / 1000))
        read_together(site)
        report(site, database, f"each page, {THREADS} at once")
        peak = site.find_peak()
    for failure in set(site.failures):
        print_result("failure", text=failure)
    return not site.failures and peak <= LIMIT


def send_texts(site: Site, times: int) -> None:
    for number in range(times):
        site.sign_in()
        site.save_organization(number)
        site.change_role(number)
        if number % max(1, times // READS) == 0:
            for path in list_pages(site).values():
                site.read(path)


def read_together(site: Site) -> None:
    site.sign_in()
    with ThreadPoolExecutor(THREADS) as threads:
        for path in list_pages(site).values():
            list(threads.map(site.read, [path] * THREADS))


def report(site: Site, database: str, part: str, **figures: int) -> None:
    print_result(
        "memory", database=database, after=part, **figures, peak=site.find_peak()
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("times", nargs="?", type=int, default=TIMES)
    times = parser.parse_args().times
    is_good = measure_on_both(partial(measure, times=times), durable=False)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
