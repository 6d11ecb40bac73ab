"""Measure what the metrics cost: the same pages with and without them.

    python -m benchmarks.metrics [--rounds 500]

Runs a server as docs/deployment does, with METRICS_TOKEN. A cookie leaves the metrics
out. A person asks for the same page with metrics, without, and another time without, in
rounds, each in a random order. All requests reach the same process in the same session:
two processes with the same code can differ by some percent all the time, because what
they load lies elsewhere in memory. `switched_metrics.py` removes a similar effect of
the number of calls.

What is compared is the processor time that the server takes for a request, because what
else the machine does changes it least. Prints a line of JSON for each page: the median
of the ratios of all rounds, with and without metrics, and the limits between which it
is with a probability of 95 percent. The ratio of both ways without metrics shows how
exact that is. The exit status is 1 if the metrics certainly cost more than 2 percent of
a page.
"""

import argparse
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.results import print_result
from benchmarks.visitors import Visitor, filled_database
from tests.servers import LOGIN, Person, serve

# benchmarks/switched_metrics.py looks at this cookie.
COOKIE = "metrics"
OFF = "off"

WITH = "with metrics"
WITHOUT = "without"
AGAIN = "without, again"
WAYS = [WITH, WITHOUT, AGAIN]
TOKEN = "benchmarks"

# The sign-in page is the smallest page of the site, so metrics cost the most there.
PAGES = ("sign-in page", "list", "change page", "save")

WARM_UP = 20  # rounds
REST = 0.003  # seconds, until a server has written its log after a response
MOST = 1.02  # the largest ratio

# Half of the width of a 95 percent confidence interval of a median, in ranks, for one
# value. It grows with the square root of the number of values.
RANKS = 0.98


@dataclass(frozen=True)
class Cost:
    """What a request cost, in milliseconds."""

    waited: float
    used: float  # of the processor


class Reader(Visitor):
    """A person who opens pages with or without metrics."""

    def __init__(self, server: Any) -> None:
        super().__init__("ours", 0, server.address)
        self.server = server
        self.arrive()

    def measure(self, page: str, way: str) -> Cost:
        """Open a page, and return what that cost."""
        if page == "save":
            # The form has to show what is stored.
            self.ask("change page")
            time.sleep(REST)
        if way == WITH:
            self.person.cookies.pop(COOKIE, None)
        else:
            self.person.cookies[COOKIE] = OFF
        before = find_processor_time(self.server)
        milliseconds = self.open(page)
        time.sleep(REST)
        used = find_processor_time(self.server) - before
        return Cost(milliseconds, used)

    def open(self, page: str) -> float:
        if page == "sign-in page":
            # The page for people who are not signed in.
            cookies = self.person.cookies
            visitor = Person(self.address, {COOKIE: cookies.get(COOKIE, "")})
            return self.send(200, visitor.get, LOGIN).milliseconds
        return self.ask(page)


def find_processor_time(server: Any) -> float:
    """Return the milliseconds that the threads of all workers have used."""
    nanoseconds = 0
    for worker in psutil.Process(server.pid).children():
        for path in Path(f"/proc/{worker.pid}/task").glob("*/schedstat"):
            nanoseconds += int(path.read_text().split()[0])
    return nanoseconds / 1e6


def compare(reader: Reader, page: str, rounds: int) -> float:
    """Open a page in all ways in each round, and print the ratios.

    Returns the lower limit of what metrics cost, as a ratio.
    """
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    shuffle = random.Random(0)
    for number in range(-WARM_UP, rounds):
        for way in shuffle.sample(WAYS, len(WAYS)):
            cost = reader.measure(page, way)
            if number >= 0:
                costs[way].append(cost)
    without = costs[WITHOUT]
    figures: dict[str, Any] = {
        "rounds": rounds,
        "ms without": round(statistics.median(each.waited for each in without), 1),
        "of it processor": round(statistics.median(each.used for each in without), 1),
    }
    for name in (WITH, AGAIN):
        ratios = [one.used / other.used for one, other in zip(costs[name], without)]
        figures[name] = round(statistics.median(ratios), 4)
        figures[f"{name}, limits"] = find_limits(ratios)
    print_result(page, **figures)
    return figures[f"{WITH}, limits"][0]


def find_limits(values: Sequence[float]) -> list[float]:
    """Return the limits of the 95 percent confidence interval of the median."""
    ordered = sorted(values)
    middle = (len(ordered) - 1) / 2
    distance = RANKS * math.sqrt(len(ordered))
    low = max(0, math.floor(middle - distance))
    high = min(len(ordered) - 1, math.ceil(middle + distance))
    return [round(ordered[low], 4), round(ordered[high], 4)]


def count_requests(reader: Reader) -> float:
    """Return how many requests the metrics have counted."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    # This request itself is not counted.
    reader.person.cookies[COOKIE] = OFF
    response = reader.person.ask("GET", "/metrics", headers=headers)
    lines = response.text.splitlines()
    counted = [line for line in lines if line.startswith("orgadmin_requests_total{")]
    return sum(float(line.split()[-1]) for line in counted)


def check_metrics(reader: Reader) -> None:
    """Make sure that the cookie makes the difference."""
    for way in WAYS:
        before = count_requests(reader)
        reader.measure("list", way)
        counted = count_requests(reader) - before
        assert counted == (way == WITH), (way, counted)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=500,
        help="how often each page is opened in each way (default: %(default)s)",
    )
    options = parser.parse_args()
    with filled_database(people=1):
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "benchmarks.metered",
            "METRICS_TOKEN": TOKEN,
        }
        with serve(environment) as server:
            reader = Reader(server)
            check_metrics(reader)
            limits = [compare(reader, page, options.rounds) for page in PAGES]
    return 1 if max(limits) > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
