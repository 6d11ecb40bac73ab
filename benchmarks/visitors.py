"""People who use the site, or the stock admin, over HTTP; and the database they need.

Each person looks after ten organizations. Our site has all of them in one table; the
stock admin, with the settings of `startproject`, has a table of ten.
"""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.postgres import run_postgres
from tests.servers import Person, read_form

ORGANIZATIONS = 10  # of each person
PASSWORD = "correct horse battery"
KINDS = ("list", "change page", "save", "sign-in")  # of requests
FORM_KEY = "form_key"  # the field with the key of a form


@dataclass(frozen=True)
class Side:
    """One of the two sites that are compared."""

    settings: str
    login: str
    list: str


SIDES = {
    "ours": Side(
        settings="benchmarks.settings",
        login="/admin/login/",
        list="/admin/orgadmin/organization/",
    ),
    "stock": Side(
        settings="benchmarks.stock",
        login="/floor/login/",
        list=f"/floor/peers/floor{ORGANIZATIONS}/",
    ),
}


@contextmanager
def filled_database(people: int) -> Iterator[None]:
    """Create a database with so many people for each side.

    In the context, the environment names the database, and Django is set up.
    """
    with run_postgres(durable=True) as server_url:
        create_database(server_url)
        url = urlsplit(server_url)._replace(path="/benchmark_load").geturl()
        os.environ["DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        os.environ["SECRET_KEY"] = "benchmarks"
        logging.getLogger("pgserver").setLevel("WARNING")
        warnings.simplefilter("ignore")
        import django

        django.setup()
        from django.db import connections

        fill_database(people)
        connections.close_all()
        yield


def create_database(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS benchmark_load WITH (FORCE)")
        connection.execute("CREATE DATABASE benchmark_load")
        if "TEST_DATABASE_URL" not in os.environ:
            # The server was started with settings for tests.
            connection.execute("ALTER SYSTEM RESET autovacuum")
            connection.execute("SELECT pg_reload_conf()")


def fill_database(people: int) -> None:
    # Models can be imported only after Django is set up.
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Permission

    from benchmarks.fill import fill, migrate
    from benchmarks.peers.models import FLOORS
    from orgadmin.models import Organization, User

    migrate()
    fill(people * ORGANIZATIONS)
    groups = list(Organization.objects.order_by("pk").values_list("admin", flat=True))
    floor = FLOORS[ORGANIZATIONS]
    models = [floor.organization._meta.model_name, floor.contact._meta.model_name]
    permissions = Permission.objects.filter(
        content_type__app_label="peers", content_type__model__in=models
    )
    # One hash for all, because it takes a third of a second.
    password = make_password(PASSWORD)
    for number in range(people):
        ours = User.objects.create(username=f"ours-{number}", password=password)
        ours.groups.add(*groups[number::people])
        stock = User.objects.create(
            username=f"stock-{number}", password=password, is_staff=True
        )
        stock.user_permissions.set(permissions)


@dataclass(frozen=True)
class Timed:
    response: Any
    milliseconds: float


class Visitor:
    """A person who uses one of the two sites.

    Opens the pages that the page before leads to: sign in, open the list, open a change
    page, save it.
    """

    def __init__(self, side: str, number: int, address: tuple[str, int]) -> None:
        self.side = SIDES[side]
        self.username = f"{side}-{number}"
        self.address = address
        self.saves = 0
        self.refusals = 0  # sign-ins refused because the server was too busy

    def arrive(self) -> None:
        """Do everything once, except saving."""
        self.ask("sign-in")
        self.ask("list")
        self.ask("change page")

    def ask(self, kind: str) -> float:
        """Send a request of a kind, and return how many milliseconds it took.

        Raises `AssertionError` if the response is not as expected.
        """
        actions = {
            "sign-in": self.sign_in,
            "list": self.open_list,
            "change page": self.open_change_page,
            "save": self.save,
        }
        return actions[kind]()

    def sign_in(self) -> float:
        """Sign in, trying again for as long as the server is too busy.

        Returns the time until the person is signed in, including the pauses that the
        server asks for.
        """
        self.person = Person(self.address)
        self.person.get(self.side.login)
        data = {"username": self.username, "password": PASSWORD}
        start = time.perf_counter()
        while True:
            response = self.person.post(self.side.login, data)
            if response.status != 503:
                break
            self.refusals += 1
            time.sleep(float(response.headers["Retry-After"]))
        milliseconds = (time.perf_counter() - start) * 1000
        expect_status(302, response, self.side.login)
        return milliseconds

    def open_list(self) -> float:
        timed = self.send(200, self.person.get, self.side.list)
        # Our list leads to the overview, and the stock one to the change page.
        link = rf'"({self.side.list}\d+/)(?:overview|change)/'
        pages = re.findall(link, timed.response.text)
        self.page = f"{random.choice(pages)}change/"
        return timed.milliseconds

    def open_change_page(self) -> float:
        timed = self.send(200, self.person.get, self.page)
        self.form = read_form(timed.response.text)
        return timed.milliseconds

    def save(self) -> float:
        """Save another phone number each time."""
        self.saves += 1
        self.form["phone"] = f"+1 555 {self.saves:06}"
        if FORM_KEY in self.form:
            # A form that is sent again with the same key is not saved again.
            self.form[FORM_KEY] = secrets.token_urlsafe()
        timed = self.send(302, self.person.post, self.page, self.form)
        # The page would show the new number as the initial one the next time.
        if "initial-phone" in self.form:
            self.form["initial-phone"] = self.form["phone"]
        return timed.milliseconds

    def send(
        self, expected_status: int, request: Callable[..., Any], *arguments: Any
    ) -> Timed:
        start = time.perf_counter()
        response = request(*arguments)
        milliseconds = (time.perf_counter() - start) * 1000
        expect_status(expected_status, response, arguments[0])
        return Timed(response, milliseconds)


def expect_status(expected: int, response: Any, page: str) -> None:
    assert response.status == expected, f"{page}: {response.status}\n{response.text}"


def find_percentiles(times: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(times)
    return {
        "p50": round(ordered[int(len(ordered) * 0.5)], 1),
        "p99": round(ordered[int(len(ordered) * 0.99)], 1),
    }
