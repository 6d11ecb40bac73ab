"""People in front of a real gunicorn and a real PostgreSQL, on this machine, which the client shares.

    python -m benchmarks.load                  # each kind of request as fast as it goes, beside the stock admin
    python -m benchmarks.load --minutes 10     # 200 people at work: each error, and whether the memory grows

Each person looks after ten organizations; the stock admin, with the settings of `startproject`, has a table of ten.
Prints lines of JSON: requests per second, and how many milliseconds half and 99 of 100 of them took. The exit status
is 1 where a request failed, or the memory of the workers has grown by more than a twentieth."""

import argparse
import json
import logging
import operator
import os
import random
import re
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from urllib.parse import urlsplit

import psutil
import psycopg
from urllib3.exceptions import HTTPError

from tests.postgres import run_postgres as postgres
from tests.servers import Person, read_form, serve

OWN, PASSWORD, WORKERS = 10, "correct horse battery", (os.cpu_count() or 1) + 1
KINDS = ("list", "change page", "save", "sign-in")
ROUND, NEW_SIGN_IN = (
    ["list", "change page", "save"],
    1 / 50,
)  # what a person does, until they sign in anew
SIDES = {"ours": ("benchmarks.settings", "/admin/", "orgadmin/organization/")}
SIDES["stock"] = ("benchmarks.stock", "/floor/", f"peers/floor{OWN}/")


@contextmanager
def filled_database(people):
    """Make a database with so many people for each side; in the context, Django may be used."""
    with postgres() as server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS benchmark_load WITH (FORCE)")
            connection.execute("CREATE DATABASE benchmark_load")
            if "TEST_DATABASE_URL" not in os.environ:  # it is set up for tests
                connection.execute("ALTER SYSTEM RESET autovacuum")
                connection.execute("SELECT pg_reload_conf()")
        os.environ["DATABASE_URL"] = (
            urlsplit(server)._replace(path="/benchmark_load").geturl()
        )
        os.environ |= {
            "SECRET_KEY": "benchmarks",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        }
        logging.getLogger("pgserver").setLevel("WARNING")
        warnings.simplefilter("ignore")
        import django

        django.setup()
        from django.db import connections

        fill_people(people)
        connections.close_all()
        yield


def fill_people(people):
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Permission
    from django.core.management import call_command

    from benchmarks.fill import fill
    from benchmarks.peers.models import FLOORS
    from orgadmin.models import Organization, User

    call_command("migrate", verbosity=0)
    call_command(
        "migrate", verbosity=0, run_syncdb=True
    )  # the peers have no migrations
    fill(people * OWN)
    groups = list(Organization.objects.order_by("pk").values_list("admin", flat=True))
    models = [model._meta.model_name for model in FLOORS[OWN]]
    rights = Permission.objects.filter(
        content_type__app_label="peers", content_type__model__in=models
    )
    values = {
        "password": make_password(PASSWORD)
    }  # one for all, as it takes a third of a second
    for number in range(people):
        User.objects.create(username=f"ours-{number}", **values).groups.add(
            *groups[number::people]
        )
        User.objects.create(
            username=f"stock-{number}", is_staff=True, **values
        ).user_permissions.set(rights)


class Visitor:
    """A person of one side, who does each kind of request and goes on with what the page before showed."""

    def __init__(self, side, number, address):
        _settings, self.site, place = SIDES[side]
        self.address, self.name, self.list, self.count = (
            address,
            f"{side}-{number}",
            self.site + place,
            0,
        )

    def come(self):
        for kind in ("sign-in", "list", "change page"):
            self.ask(kind)

    def ask(self, kind):
        """Return the milliseconds that a request took. Raises AssertionError where it is not answered as it should."""
        if kind == "sign-in":
            self.person = Person(self.address)
            self.person.get(f"{self.site}login/")
        elif kind == "save":
            self.count += 1
            self.form["phone"] = f"+1 555 {self.count:06}"
        began = time.perf_counter()
        if kind == "sign-in":
            answer = self.person.post(
                f"{self.site}login/", {"username": self.name, "password": PASSWORD}
            )
        elif kind == "save":
            answer = self.person.post(self.page, self.form)
        else:
            answer = self.person.get(self.list if kind == "list" else self.page)
        ms = (time.perf_counter() - began) * 1000
        assert answer.status == (302 if kind in ("save", "sign-in") else 200), (
            f"{kind}: {answer.status}\n{answer.text}"
        )
        if kind == "list":
            self.page = random.choice(
                re.findall(rf'"({self.list}\d+/change/)', answer.text)
            )
        elif kind == "change page":
            self.form = read_form(answer.text)
        elif kind == "save" and "initial-phone" in self.form:
            self.form["initial-phone"] = self.form[
                "phone"
            ]  # as the page would show it next
        return ms


def at_once(functions):
    with ThreadPoolExecutor(len(functions)) as threads:
        return [
            future.result()
            for future in [threads.submit(function) for function in functions]
        ]


def find_parts(times):
    return {
        name: round(sorted(times)[int(len(times) * part)], 1)
        for name, part in (("p50", 0.5), ("p99", 0.99))
    }


def tell(what, **values):
    print(json.dumps({"what": what, **values}), flush=True)


def compare(options):
    """Ask without a pause, one side after the other, again and again."""
    with ExitStack() as stack:
        visitors = {}
        for side, (settings, *_) in SIDES.items():
            server = stack.enter_context(
                serve(os.environ | {"DJANGO_SETTINGS_MODULE": settings}, WORKERS)
            )
            visitors[side] = [
                Visitor(side, number, server.address)
                for number in range(options.people)
            ]
            at_once([visitor.come for visitor in visitors[side]])

        def ask_on(visitor, kind, end):
            times = []
            while time.perf_counter() < end:
                times.append(visitor.ask(kind))
            return times

        for kind in KINDS:
            times, speeds = {side: [] for side in SIDES}, {side: [] for side in SIDES}
            for _ in range(options.rounds):
                for side, people in visitors.items():
                    began = time.perf_counter()
                    got = sum(
                        at_once(
                            [
                                partial(ask_on, who, kind, began + options.seconds)
                                for who in people
                            ]
                        ),
                        [],
                    )
                    speeds[side].append(len(got) / (time.perf_counter() - began))
                    times[side] += got
            figures = {
                side: {"per second": round(statistics.median(speeds[side]), 1)}
                | find_parts(times[side])
                for side in SIDES
            }
            ratios = {
                name: round(figures["ours"][name] / figures["stock"][name], 2)
                for name in figures["ours"]
            }
            ratios["per second"] = round(
                statistics.median(map(operator.truediv, *speeds.values())), 2
            )  # of each round
            tell(kind, people=options.people, **figures, **{"ours/stock": ratios})
    return True


def endure(options):
    """Let people work for some minutes, with pauses; tell whether all went well."""
    times, errors, memory = {kind: [] for kind in KINDS}, Counter(), []
    with tempfile.TemporaryFile() as log, serve(os.environ, WORKERS, log) as server:
        coming = options.people / 2  # seconds: signing in takes a third of one
        begin = time.time() + coming
        end = begin + options.minutes * 60

        def work(number):
            visitor, kinds = Visitor("ours", number, server.address), ["sign-in"]
            time.sleep(random.uniform(0, coming))
            while time.time() < end:
                kind, *kinds = kinds
                try:
                    ms = visitor.ask(kind)
                    if time.time() > begin:
                        times[kind].append(ms)
                except (AssertionError, HTTPError) as error:
                    errors[f"{kind}: {type(error).__name__}: {str(error)[:300]}"] += 1
                    kinds = ["sign-in"]
                kinds = kinds or (
                    ROUND
                    if kind != "save" or random.random() > NEW_SIGN_IN
                    else ["sign-in"]
                )
                time.sleep(random.uniform(0.5, 1.5) * options.think)

        def watch():
            while time.time() < end:
                time.sleep(2)
                if time.time() > begin:
                    workers = psutil.Process(server.pid).children()
                    memory.append(
                        sum(worker.memory_info().rss for worker in workers)
                        / 2**20
                        / len(workers)
                    )

        at_once([watch, *(partial(work, number) for number in range(options.people))])
    third = len(memory) // 3
    first, last = statistics.mean(memory[:third]), statistics.mean(memory[-third:])
    for kind in filter(times.get, KINDS):
        tell(kind, n=len(times[kind]), **find_parts(times[kind]))
    speed = sum(map(len, times.values())) / options.minutes / 60
    told = {
        "people": options.people,
        "minutes": options.minutes,
        "per second": round(speed, 1),
    }
    told |= {
        "MB of a worker, first third": round(first, 1),
        "last third": round(last, 1),
        "errors": errors,
    }
    good = not errors and last / first < 1.05
    tell("endurance", **told, verdict="good" if good else "bad")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--people", type=int, help="at once: 8 who never pause, or 200 for minutes"
    )
    parser.add_argument(
        "--seconds", type=float, default=3, help="of a slice (%(default)s)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        help="of slices for each kind and side (%(default)s)",
    )
    parser.add_argument(
        "--minutes", type=float, help="let people work, ours only, instead of comparing"
    )
    parser.add_argument(
        "--think",
        type=float,
        default=2,
        help="seconds between the requests of a person (%(default)s)",
    )
    options = parser.parse_args()
    options.people = options.people or (200 if options.minutes else 8)
    with filled_database(options.people):
        sys.exit(not (endure if options.minutes else compare)(options))
