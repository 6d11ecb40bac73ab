"""Measure how many people a real gunicorn with a real PostgreSQL can serve.

    python -m benchmarks.load                  # compare with the stock admin
    python -m benchmarks.load --minutes 10     # 200 people at work, with pauses

Everything runs on this machine, which the people share. Prints a line of JSON for each
kind of request: requests per second, and the median and 99th percentile of their times
in milliseconds. A sign-in that is refused because the server is too busy is tried again
after the pause that the server asks for. Its time includes the pause.

With --minutes, only our site runs, and a last line says whether requests failed, and
whether the memory of the workers grew. The exit status is 1 if a request failed, or if
the memory grew by more than 5 percent.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
from urllib3.exceptions import HTTPError

from benchmarks.results import print_result
from benchmarks.visitors import (
    KINDS,
    SIDES,
    Visitor,
    filled_database,
    find_percentiles,
)
from tests.servers import serve

WORKERS = (os.cpu_count() or 1) + 1

# What a person at work does, and how often they sign in again after saving.
ROUND = ("list", "change page", "save")
SIGN_IN_AGAIN = 1 / 50

MOST_GROWTH = 1.05  # of the memory, from the first third of the time to the last


@dataclass
class SideFigures:
    """The measurements for one site and one kind of request."""

    times: list[float] = field(default_factory=list)  # milliseconds
    speeds: list[float] = field(default_factory=list)  # requests per second, by round

    def summarize(self) -> dict[str, float]:
        per_second = round(statistics.median(self.speeds), 1)
        return {"per second": per_second, **find_percentiles(self.times)}


def call_at_once(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call functions in a thread each, and return their results."""
    with ThreadPoolExecutor(len(functions)) as threads:
        futures = [threads.submit(function) for function in functions]
        return [future.result() for future in futures]


def compare(options: argparse.Namespace) -> bool:
    """Send requests without pauses to both sites in turn."""
    with ExitStack() as servers:
        visitors = {}
        for side, site in SIDES.items():
            environment = os.environ | {"DJANGO_SETTINGS_MODULE": site.settings}
            server = servers.enter_context(serve(environment, WORKERS))
            visitors[side] = [
                Visitor(side, number, server.address)
                for number in range(options.people)
            ]
            for visitor in visitors[side]:
                visitor.arrive()
        for kind in KINDS:
            figures = {side: SideFigures() for side in SIDES}
            for _ in range(options.rounds):
                for side, people in visitors.items():
                    measure_round(people, kind, options.seconds, figures[side])
            print_comparison(kind, options.people, figures)
        for side, people in visitors.items():
            refusals = count_refusals(people)
            print_result("sign-ins tried again", side=side, n=refusals)
    return True


def count_refusals(visitors: Sequence[Visitor]) -> int:
    return sum(visitor.refusals for visitor in visitors)


def measure_round(
    visitors: Sequence[Visitor], kind: str, seconds: float, figures: SideFigures
) -> None:
    start = time.perf_counter()
    end = start + seconds
    times = []
    for own_times in call_at_once(
        [partial(ask_until, visitor, kind, end) for visitor in visitors]
    ):
        times += own_times
    figures.speeds.append(len(times) / (time.perf_counter() - start))
    figures.times += times


def ask_until(visitor: Visitor, kind: str, end: float) -> list[float]:
    """Send requests of one kind until the end, and return their milliseconds."""
    times = []
    while time.perf_counter() < end:
        times.append(visitor.ask(kind))
    return times


def print_comparison(kind: str, people: int, figures: dict[str, SideFigures]) -> None:
    ours = figures["ours"].summarize()
    stock = figures["stock"].summarize()
    ratios = {name: round(ours[name] / stock[name], 2) for name in ours}
    # The median of the ratios of rounds is more exact than the ratio of medians.
    speeds = zip(figures["ours"].speeds, figures["stock"].speeds)
    ratios["per second"] = round(statistics.median(a / b for a, b in speeds), 2)
    results = {"people": people, "ours": ours, "stock": stock, "ours/stock": ratios}
    print_result(kind, **results)


class Endurance:
    """People at work for some minutes, with pauses."""

    def __init__(self, options: argparse.Namespace, server: Any) -> None:
        self.server = server
        self.visitors = [
            Visitor("ours", number, server.address) for number in range(options.people)
        ]
        self.minutes = options.minutes
        self.think = options.think  # seconds
        self.arrival = options.people / 2  # seconds: a sign-in takes a third of one
        self.start = time.time() + self.arrival
        self.end = self.start + options.minutes * 60
        self.times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.errors: Counter[str] = Counter()
        self.memory: list[float] = []  # megabytes of an average worker

    def run(self) -> None:
        people = [partial(self.work, visitor) for visitor in self.visitors]
        call_at_once([self.watch_memory, *people])

    def work(self, visitor: Visitor) -> None:
        """Do what a person does until the end."""
        planned = ["sign-in"]
        time.sleep(random.uniform(0, self.arrival))
        while time.time() < self.end:
            kind = planned.pop(0)
            is_done = self.ask(visitor, kind)
            if not is_done:
                planned = ["sign-in"]
            elif not planned:
                planned = self.plan_after(kind)
            time.sleep(random.uniform(0.5, 1.5) * self.think)

    def ask(self, visitor: Visitor, kind: str) -> bool:
        """Send a request and record its time or error. Return whether it worked."""
        try:
            milliseconds = visitor.ask(kind)
        except (AssertionError, HTTPError) as error:
            self.errors[f"{kind}: {type(error).__name__}: {str(error)[:300]}"] += 1
            return False
        if time.time() > self.start:
            self.times[kind].append(milliseconds)
        return True

    def plan_after(self, kind: str) -> list[str]:
        if kind == "save" and random.random() <= SIGN_IN_AGAIN:
            return ["sign-in"]
        return list(ROUND)

    def watch_memory(self) -> None:
        while time.time() < self.end:
            time.sleep(2)
            if time.time() > self.start:
                workers = psutil.Process(self.server.pid).children()
                sizes = [worker.memory_info().rss / 2**20 for worker in workers]
                self.memory.append(statistics.mean(sizes))

    def print_results(self) -> bool:
        """Print the results, and return whether all went well."""
        for kind, times in self.times.items():
            if times:
                print_result(kind, n=len(times), **find_percentiles(times))
        requests = sum(len(times) for times in self.times.values())
        third = len(self.memory) // 3
        first = statistics.mean(self.memory[:third])
        last = statistics.mean(self.memory[-third:])
        is_good = not self.errors and last / first < MOST_GROWTH
        figures = {
            "people": len(self.visitors),
            "minutes": self.minutes,
            "per second": round(requests / self.minutes / 60, 1),
            "MB of a worker, first third": round(first, 1),
            "last third": round(last, 1),
            "sign-ins tried again": count_refusals(self.visitors),
            "errors": self.errors,
            "verdict": "good" if is_good else "bad",
        }
        print_result("endurance", **figures)
        return is_good


def endure(options: argparse.Namespace) -> bool:
    with tempfile.TemporaryFile() as log, serve(os.environ, WORKERS, log) as server:
        endurance = Endurance(options, server)
        endurance.run()
    return endurance.print_results()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--people",
        type=int,
        help="people at the same time (default: 8 without pauses, 200 with pauses)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=3,
        help="length of one measurement of a side (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        help="measurements of each kind and side (default: %(default)s)",
    )
    parser.add_argument(
        "--minutes", type=float, help="let people work for so long, on our site only"
    )
    parser.add_argument(
        "--think",
        type=float,
        default=2,
        help="seconds between two requests of a person (default: %(default)s)",
    )
    options = parser.parse_args()
    if not options.people:
        options.people = 200 if options.minutes else 8
    return options


def main() -> int:
    options = parse_options()
    with filled_database(options.people):
        is_good = endure(options) if options.minutes else compare(options)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
