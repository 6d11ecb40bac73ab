"""An org admin's list over HTTP: requests per second of gunicorn with two workers, ours, the floor and the usual way.

python -m benchmarks.http    # needs gunicorn and wrk; DATABASE_URL names a database that benchmarks.fill filled
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from urllib.request import urlopen

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.test import Client  # noqa: E402

from orgadmin.models import User  # noqa: E402

PORT, SECONDS, ROUNDS = 8123, 5, 5
LISTS = {
    "ours": ("admin-10", "/admin/orgadmin/organization/"),
    "floor": ("floor-10", "/floor/peers/floor10/"),
    "usual": ("usual-10", "/usual/peers/usualorganization/"),
}


def sign_in(username):
    client = Client()
    client.force_login(User.objects.get(username=username))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def load(username, path):
    """Return the requests per second, and the latencies that half and 99 of 100 of them had."""
    cookie = f"Cookie: {settings.SESSION_COOKIE_NAME}={sign_in(username)}"
    address = f"http://127.0.0.1:{PORT}{path}"
    command = [
        "wrk",
        "-t1",
        "-c4",
        f"-d{SECONDS}s",
        "--latency",
        "--timeout",
        "30s",
        "-H",
        cookie,
        address,
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in printed, printed
    found = (
        re.search(rf"{what}\s+([\d.]+\w*)", printed)[1]
        for what in ("Requests/sec:", "50%", "99%")
    )
    return list(found)


def main():
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    options = [
        "--workers",
        "2",
        "--bind",
        f"127.0.0.1:{PORT}",
        "--log-level",
        "warning",
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "config.wsgi"], env=os.environ
    )
    try:
        for _ in range(50):
            time.sleep(0.2)
            try:
                urlopen(f"http://127.0.0.1:{PORT}/livez").read()
                break
            except OSError:
                pass
        rounds = {name: [] for name in LISTS}
        for _ in range(ROUNDS):
            for name, (username, path) in LISTS.items():
                rounds[name].append(load(username, path))
                time.sleep(3)  # until what is still under way is answered
        speeds = {
            name: statistics.median(float(speed) for speed, *_ in got)
            for name, got in rounds.items()
        }
        latencies = {name: got[-1][1:] for name, got in rounds.items()}
        ratios = {
            f"ours/{other}": round(speeds["ours"] / speeds[other], 2)
            for other in ("floor", "usual")
        }
        print(
            json.dumps(
                {
                    "what": "requests per second",
                    **speeds,
                    "ratios": ratios,
                    "p50, p99": latencies,
                }
            )
        )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
