"""People who use the site while faults happen, and remember what it told them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from urllib3.exceptions import HTTPError

from tests.servers import LIST, Person, read_form

if TYPE_CHECKING:
    from benchmarks.faults.site import Site

# Outcomes of a request. Any other is the unexpected status, followed by "!".
GOOD = "good"
BUSY = "503"
NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Outcome:
    time: float  # of the monotonic clock, when the request ended
    label: str
    seconds: float  # that the person waited


class Worker(threading.Thread):
    """A person who repeatedly reads the list and a change page."""

    def __init__(self, site: Site, username: str, organization: int) -> None:
        super().__init__()
        self.site = site
        self.organization = organization
        self.page = f"{LIST}{organization}/change/"
        self.outcomes: list[Outcome] = []
        self.saved: list[str] = []  # values that the site said were saved
        self.person = Person(site.address)
        assert self.person.sign_in(username)

    def run(self) -> None:
        while not self.site.is_over:
            with suppress(HTTPError):
                self.work()
            time.sleep(0.05)

    def work(self) -> None:
        self.get(LIST)
        self.get(self.page)

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def post(self, path: str, data: dict[str, str]) -> Any:
        return self.ask("POST", path, data)

    def ask(self, method: str, path: str, data: dict[str, str] | None = None) -> Any:
        """Send a request, and return the response if it is as expected, or else None.

        Raises urllib3's `HTTPError` if there is no response.
        """
        start = time.monotonic()
        try:
            if method == "POST":
                response = self.person.post(path, data)
            else:
                response = self.person.get(path)
        except HTTPError:
            self.note(NO_ANSWER, start)
            raise
        if is_busy(response):
            self.note(BUSY, start)
            return None
        if not is_expected(response):
            self.note(f"{response.status}!", start)
            return None
        self.note(GOOD, start)
        return response

    def note(self, label: str, start: float) -> None:
        end = time.monotonic()
        self.outcomes.append(Outcome(end, label, end - start))

    def read_saved(self, connection: psycopg.Connection) -> set[str]:
        """Return the values that really are in the database."""
        return set()


class Writer(Worker):
    """A person who saves another phone number each time."""

    tries = 0

    def work(self) -> None:
        page = self.get(self.page)
        if page is None:
            return
        self.tries += 1
        phone = str(self.tries)
        response = self.post(self.page, read_form(page.text) | {"phone": phone})
        # A form with errors is shown again, with status 200.
        if response is not None and response.status == 302:
            self.saved.append(phone)

    def read_saved(self, connection: psycopg.Connection) -> set[str]:
        rows = connection.execute(
            "SELECT phone FROM orgadmin_historicalorganization WHERE id = %s",
            [self.organization],
        )
        return first_column(rows)


class Changer(Worker):
    """A person who alternately makes a member a reviewer and an admin.

    The reason for each change is a number, by which it can be found.
    """

    tries = 0

    def work(self) -> None:
        page = f"{LIST}{self.organization}/people/"
        self.tries += 1
        reason = str(self.tries)
        data = {
            "user": str(self.site.member),
            "role": "reviewer" if self.tries % 2 else "admin",
            "reason": reason,
            "confirmed": "1",
        }
        if self.post(page, data) is None:
            return
        shown = self.get(page)
        if shown is not None and read_message_levels(shown.text) == {"success"}:
            self.saved.append(reason)

    def read_saved(self, connection: psycopg.Connection) -> set[str]:
        rows = connection.execute(
            "SELECT reason FROM orgadmin_membershipevent WHERE organization_key = %s",
            [self.organization],
        )
        return first_column(rows)


def is_busy(response: Any) -> bool:
    """Return whether this is the site's page that asks to try again later."""
    return response.status == 503 and "Retry-After" in response.headers


def is_expected(response: Any) -> bool:
    if response.status == 302:
        return "/login/" not in response.headers["Location"]
    return response.status == 200


def read_message_levels(page: str) -> set[str]:
    """Return the levels of the messages on a page, such as {"success"}."""
    levels = ("success", "warning", "error")
    return {level for level in levels if f'<li class="{level}">' in page}


def first_column(rows: Iterable[tuple[str, ...]]) -> set[str]:
    return {row[0] for row in rows}
