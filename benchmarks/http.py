"""Measure an org admin's list over HTTP, in requests per second.

    python -m benchmarks.http

Compares ours with the floor and the usual way, on gunicorn with two workers. Needs
gunicorn and wrk. DATABASE_URL names a database that benchmarks.fill filled.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import urlopen

import django

django.setup()

# Models can be imported now that Django is set up.
from django.conf import settings
from django.test import Client

from benchmarks.results import print_result
from orgadmin.models import User

PORT = 8123
SECONDS = 5  # of one measurement
ROUNDS = 5
PAUSE = 3  # seconds, until the last requests of a measurement are answered
PAGES = {
    "ours": ("admin-10", "/admin/orgadmin/organization/"),
    "floor": ("floor-10", "/floor/peers/floor10/"),
    "usual": ("usual-10", "/usual/peers/usualorganization/"),
}


@dataclass(frozen=True)
class Load:
    """What wrk measured."""

    requests_per_second: float
    p50: str  # with its unit
    p99: str


@contextmanager
def run_server() -> Iterator[None]:
    options = ["--workers", "2", "--bind", f"127.0.0.1:{PORT}"]
    options += ["--log-level", "warning"]
    command = [sys.executable, "-m", "gunicorn", *options, "config.wsgi"]
    server = subprocess.Popen(command)
    try:
        wait_until_ready()
        yield
    finally:
        server.terminate()
        server.wait()


def wait_until_ready() -> None:
    for _ in range(50):
        time.sleep(0.2)
        try:
            urlopen(f"http://127.0.0.1:{PORT}/livez").read()
            return
        except OSError:
            pass


def sign_in(username: str) -> str:
    """Return the key of a new session."""
    client = Client()
    client.force_login(User.objects.get(username=username))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def measure(username: str, path: str) -> Load:
    cookie = f"Cookie: {settings.SESSION_COOKIE_NAME}={sign_in(username)}"
    options = ["-t1", "-c4", f"-d{SECONDS}s", "--latency", "--timeout", "30s"]
    command = ["wrk", *options, "-H", cookie, f"http://127.0.0.1:{PORT}{path}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Non-2xx" not in result.stdout, result.stdout
    return Load(
        requests_per_second=float(find_figure("Requests/sec:", result.stdout)),
        p50=find_figure("50%", result.stdout),
        p99=find_figure("99%", result.stdout),
    )


def find_figure(label: str, text: str) -> str:
    return re.search(rf"{label}\s+([\d.]+\w*)", text)[1]


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing. To install it, run: apt-get install wrk")
    loads = {name: [] for name in PAGES}
    with run_server():
        for _ in range(ROUNDS):
            for name, (username, path) in PAGES.items():
                loads[name].append(measure(username, path))
                time.sleep(PAUSE)
    speeds = {}
    latencies = {}
    for name, measured in loads.items():
        speeds[name] = statistics.median(load.requests_per_second for load in measured)
        latencies[name] = [measured[-1].p50, measured[-1].p99]
    ratios = {
        "ours/floor": round(speeds["ours"] / speeds["floor"], 2),
        "ours/usual": round(speeds["ours"] / speeds["usual"], 2),
    }
    figures = {**speeds, "ratios": ratios, "p50, p99": latencies}
    print_result("requests per second", **figures)


if __name__ == "__main__":
    main()
