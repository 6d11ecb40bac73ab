"""Import large files in a browser, and kill the worker during imports.

    python -m benchmarks.large_imports [ROWS] [--kills 10]

Runs gunicorn, a worker and PostgreSQL as in production, and Chromium. A person uploads
a CSV file with ROWS organizations (100,000), waits for the preview, and confirms it.
Then the same with a workbook, and then with a CSV file while the worker is killed
again and again: for one half of the kills while it makes the preview, for the other
half while it imports. After each kill, nothing must have been imported.

Prints a line of JSON for each file: the seconds until the preview and of the import,
how many different states of the progress the page has shown, and the peak memory of
each process in megabytes. `throughput` is that of the import, divided by the one of
`bulk_create()` with the same rows. The exit status is 1 if a result is wrong.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import psycopg
from playwright.sync_api import Page, sync_playwright

from benchmarks.databases import PostgreSQL, use_postgres
from benchmarks.results import print_result
from orgadmin.records.xlsx_files import write_workbook
from tests.__main__ import CHROMIUM
from tests.killing import END_LEASES
from tests.scratch import Program, Scratch
from tests.servers import serve

FLAGS = ["--no-sandbox", "--disable-gpu"]
UPLOAD = "/admin/orgadmin/organization/import/"
HEADER = ["reference", "name", "website", "email", "phone", "address", "tax_id"]
PREVIEW = "Nothing was imported yet."
DONE = "organizations were created."
MAX_WAIT = 3_600_000  # milliseconds

ROOT = """
from tests.factories import create_superuser
create_superuser()
"""

# Prints the seconds that `bulk_create()` takes.
BULK_CREATE = """
import time
from benchmarks.large_imports import HEADER, make_rows
from orgadmin.models import Organization

rows = [Organization(**dict(zip(HEADER, row))) for row in make_rows({rows})]
began = time.monotonic()
Organization.objects.bulk_create(rows)
print(time.monotonic() - began)
"""

# Prints "right", or what is wrong.
CHECK = """
from benchmarks.large_imports import HEADER, make_rows
from django.contrib.auth.models import Group
from orgadmin.models import Organization
from orgadmin.models import OrganizationGroupObjectPermission as Permission

stored = Organization.objects.order_by("reference").values_list(*HEADER)
same = all(list(a) == b for a, b in zip(stored.iterator(), make_rows({rows})))
numbers = [
    Organization.objects.count(),
    Group.objects.count() / 2,
    Organization.history.count(),
    Permission.objects.values("group").distinct().count() / 2,
]
print("right" if same and set(numbers) == {{{rows}}} else f"{{same}} {{numbers}}")
"""


def make_rows(number: int) -> Iterator[list[str]]:
    for row in range(number):
        yield [
            f"K-{row:06}",
            f"Company {row} Ltd",
            f"https://company-{row}.example.com",
            f"info@company-{row}.example.com",
            f"020 7946 {row:06}",
            f"{row} High Street\nLondon",
            f"GB{row:09}",
        ]


def make_csv(rows: int) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *make_rows(rows)])
    return text.getvalue().encode()


def make_xlsx(rows: int) -> bytes:
    file = io.BytesIO()
    write_workbook(file, iter([HEADER, *make_rows(rows)]), "Organizations")
    return file.getvalue()


@dataclass
class Peaks:
    """The maximum memory of each kind of process, in megabytes."""

    server_pid: int
    worker_pid: int = 0
    megabytes: dict[str, int] = field(default_factory=dict)

    def watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(1):
            self.look(self.server_pid, "gunicorn")
            if self.worker_pid:
                self.look(self.worker_pid, "worker")

    def look(self, pid: int, name: str) -> None:
        try:
            process = psutil.Process(pid)
            self.note(pid, name)
            for child in process.children(recursive=True):
                is_reader = "workbook_reader" in " ".join(child.cmdline())
                self.note(child.pid, "reader of workbooks" if is_reader else name)
        except (OSError, psutil.Error):
            # The process has ended.
            return

    def note(self, pid: int, name: str) -> None:
        with open(f"/proc/{pid}/status") as file:
            lines = [line for line in file if line.startswith("VmHWM:")]
        if lines:
            peak = int(lines[0].split()[1]) // 1024
            self.megabytes[name] = max(peak, self.megabytes.get(name, 0))


class Site:
    """A site with an empty database, a worker, and a person in a browser."""

    def __init__(self, url: str, scratch: Scratch, page: Page, peaks: Peaks) -> None:
        self.url = url
        self.scratch = scratch
        self.page = page
        self.peaks = peaks
        self.worker: Program | None = None
        self.progress: set[str] = set()

    def start_worker(self) -> None:
        self.worker = self.scratch.start("manage.py", "worker")
        self.peaks.worker_pid = self.worker.pid

    def kill_worker(self) -> None:
        self.peaks.worker_pid = 0
        self.worker.kill()
        self.worker.communicate()

    def sign_in(self) -> None:
        self.page.goto("/admin/login/")
        self.page.fill("[name=username]", "root")
        self.page.fill("[name=password]", "secret")
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/admin/")

    def upload(self, name: str, content: bytes) -> None:
        self.page.goto(UPLOAD)
        file = {"name": name, "mimeType": "text/plain", "buffer": content}
        self.page.set_input_files("[name=file]", file)
        self.page.get_by_role("button", name="Preview import").click()
        self.page.locator("progress").wait_for()

    def confirm(self) -> None:
        self.page.get_by_role("button", name="Import organizations").click()
        self.page.locator("progress").wait_for()

    def wait_until(self, text: str) -> float:
        """Wait for a text on the page, and return after how many seconds it came."""
        began = time.monotonic()
        self.progress = set()
        while not self.page.get_by_text(text).first.is_visible():
            for progress in self.page.locator("progress").all():
                value = progress.get_attribute("value", timeout=1_000)
                if value:
                    self.progress.add(value)
            assert time.monotonic() - began < MAX_WAIT / 1000
            time.sleep(2)
        return time.monotonic() - began

    def ask(self, statement: str) -> float:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement).fetchone()[0]

    def kill_at(self, line: int) -> bool:
        """Kill the worker at a line. Returns whether nothing has been imported."""
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE orgadmin_import SET line = 0")
        self.start_worker()
        while self.ask("SELECT line FROM orgadmin_import") < line:
            assert self.worker.poll() is None, self.worker.communicate()
            time.sleep(0.1)
        self.kill_worker()
        self.scratch.run(END_LEASES)
        return self.ask("SELECT COUNT(*) FROM orgadmin_organization") == 0

    def find_import_time(self) -> float:
        return self.ask(
            "SELECT EXTRACT(EPOCH FROM finished_at - started_at)::float"
            " FROM orgadmin_import"
        )


@contextmanager
def open_site(server: PostgreSQL, name: str) -> Iterator[Site]:
    url = server.create_database(name)
    scratch = make_scratch(url)
    scratch.migrate("--verbosity", "0")
    scratch.run(ROOT)
    stopped = threading.Event()
    with serve(scratch.environment, workers=1) as gunicorn, sync_playwright() as player:
        host, port = gunicorn.address
        peaks = Peaks(gunicorn.pid)
        watcher = threading.Thread(target=peaks.watch, args=[stopped])
        watcher.start()
        browser = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(base_url=f"http://{host}:{port}")
        page.set_default_timeout(MAX_WAIT)
        site = Site(url, scratch, page, peaks)
        try:
            site.sign_in()
            yield site
        finally:
            stopped.set()
            watcher.join()
            browser.close()
            if site.worker is not None and site.worker.poll() is None:
                site.kill_worker()


def make_scratch(url: str) -> Scratch:
    scratch = Scratch(url)
    scratch.environment |= {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "DEBUG": "false",
        "SECRET_KEY": "a secret key for this benchmark",
        "EMAIL_URL": "smtp://127.0.0.1:9",
        "SECOND_FACTOR": "optional",
    }
    return scratch


def time_bulk_create(server: PostgreSQL, rows: int) -> float:
    scratch = make_scratch(server.create_database("bulk_create"))
    scratch.migrate("--verbosity", "0")
    return float(scratch.run(BULK_CREATE.format(rows=rows)))


def measure_file(server: PostgreSQL, name: str, content: bytes, rows: int) -> bool:
    """Import a file, print the figures, and return whether the result is right."""
    bulk_time = time_bulk_create(server, rows)
    with open_site(server, "plain") as site:
        site.start_worker()
        site.upload(name, content)
        preview_time = site.wait_until(PREVIEW)
        preview_states = len(site.progress)
        site.confirm()
        site.wait_until(DONE)
        import_time = site.find_import_time()
        result = site.scratch.run(CHECK.format(rows=rows)).strip()
        print_result(
            "large import",
            file=name,
            rows=rows,
            MB=round(len(content) / 1_000_000, 1),
            preview_s=round(preview_time, 1),
            preview_progress=preview_states,
            import_s=round(import_time, 1),
            import_progress=len(site.progress),
            bulk_create_s=round(bulk_time, 1),
            throughput=round(bulk_time / import_time, 2),
            peak_MB=site.peaks.megabytes,
            result=result,
        )
    return result == "right"


def measure_kills(server: PostgreSQL, content: bytes, rows: int, kills: int) -> bool:
    """Kill the worker during imports, and return whether the results are right."""
    lines = content.count(b"\n")
    in_preview = kills // 2
    in_import = kills - in_preview
    untouched = []
    with open_site(server, "kills") as site:
        site.upload("kills.csv", content)
        for number in range(in_preview):
            untouched.append(site.kill_at((number + 1) * lines // (in_preview + 1)))
        site.start_worker()
        site.wait_until(PREVIEW)
        site.kill_worker()
        site.confirm()
        for number in range(in_import):
            untouched.append(site.kill_at((number + 1) * lines // (in_import + 1)))
        site.start_worker()
        site.wait_until(DONE)
        result = site.scratch.run(CHECK.format(rows=rows)).strip()
    print_result(
        "killed imports",
        rows=rows,
        kills=kills,
        nothing_imported_after=sum(untouched),
        result=result,
    )
    return result == "right" and all(untouched)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=int, nargs="?", default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    rows = options.rows
    content = make_csv(rows)
    with use_postgres() as server:
        outcomes = [
            measure_file(server, "large.csv", content, rows),
            measure_file(server, "large.xlsx", make_xlsx(rows), rows),
        ]
        if options.kills:
            outcomes.append(measure_kills(server, content, rows, options.kills))
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
