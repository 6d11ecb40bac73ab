"""Measure whether response times reveal who has an account.

    python -m benchmarks.timing [REQUESTS] [--fast-hashing]

Signs in with a wrong password, asks for a link to reset a password, and invites people:
for people with an account and for others, in turn. The mail server takes a second for
each message. Runs on SQLite and on PostgreSQL. The exit status is 1 if the medians
differ by more than 5 %, or if a rank test at 1 % tells the groups apart. With
--fast-hashing, passwords are hashed fast, so that differences elsewhere show.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from benchmarks.databases import measure_on_both
from benchmarks.ranks import find_p_value
from benchmarks.results import print_result
from tests.mail_server import run_mail_server
from tests.scratch import Scratch
from tests.servers import LOGIN, Person, serve

MAIL_SECONDS = 1.0
WARM_UP = 5  # requests of each group that do not count

LARGEST_DIFFERENCE = 0.05
SMALLEST_P_VALUE = 0.01

RESET = "/admin/password_reset/"

CREATE_PEOPLE = """
from django.contrib.auth.hashers import make_password
from orgadmin.models import Organization, User

password = make_password("secret")
User.objects.bulk_create(
    User(
        username=f"known{{number}}",
        email=f"known{{number}}@example.com",
        password=password,
    )
    for number in range({number})
)
User.objects.create_superuser("root", password="secret")
print(Organization.objects.create(name="Acme").pk)
"""


@dataclass(frozen=True)
class Page:
    """A page that must not reveal who has an account.

    `write_form` returns the fields of its form for a name, such as "known7".
    """

    name: str
    path: str
    write_form: Callable[[str], dict[str, str]]
    is_public: bool = True


def list_pages(organization: str) -> list[Page]:
    people = f"/admin/orgadmin/organization/{organization}/people/"
    return [
        Page("sign-in with username", LOGIN, write_username),
        Page("sign-in with address", LOGIN, write_address),
        Page("password reset", RESET, write_reset),
        Page("invitation", people, write_invitation, is_public=False),
    ]


def write_username(name: str) -> dict[str, str]:
    return {"username": name, "password": "wrong"}


def write_address(name: str) -> dict[str, str]:
    return {"username": f"{name}@example.com", "password": "wrong"}


def write_reset(name: str) -> dict[str, str]:
    return {"email": f"{name}@example.com"}


def write_invitation(name: str) -> dict[str, str]:
    return {
        "invite": "1",
        "invite-email": f"{name}@example.com",
        "invite-role": "reviewer",
    }


def measure(url: str, requests: int, settings: str) -> bool:
    """Print the times on one database, and return whether they reveal nothing."""
    scratch = Scratch(url)
    scratch.environment |= {
        "DEBUG": "false",
        "DJANGO_SETTINGS_MODULE": settings,
        "SECRET_KEY": "for this measurement only, and long enough for the checks",
        # Each request comes from an address of its own, so that no limit is reached.
        "TRUST_PROXY": "true",
    }
    scratch.migrate("--verbosity", "0")
    people = CREATE_PEOPLE.format(number=requests + WARM_UP)
    organization = scratch.run(people).strip()
    reveal_nothing = []
    with run_mail_server(delay=MAIL_SECONDS) as mail_server:
        scratch.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{mail_server.port}"
        with serve(scratch.environment) as server, send_mail(scratch):
            for page in list_pages(organization):
                times = time_page(server.address, page, requests)
                reveal_nothing.append(report(url, page, times))
    return all(reveal_nothing)


@contextmanager
def send_mail(scratch: Scratch) -> Iterator[None]:
    """Run a worker, which sends the mail that the requests cause."""
    worker = scratch.start("manage.py", "worker")
    try:
        yield
    finally:
        worker.kill()
        worker.communicate()


def time_page(
    address: tuple[str, int], page: Page, requests: int
) -> dict[str, list[float]]:
    """Return the milliseconds of each request, for people with an account and others.

    In each round, the two groups come in random order.
    """
    visitor = Person(address)
    if not page.is_public:
        assert visitor.sign_in("root")
    visitor.get(page.path)
    numbers = count()
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(requests + WARM_UP):
        groups = list(times)
        random.shuffle(groups)
        for group in groups:
            form = page.write_form(f"{group}{number}")
            took = time_request(address, visitor, page, form, next(numbers))
            if number >= WARM_UP:
                times[group].append(took)
    return times


def time_request(
    address: tuple[str, int],
    visitor: Person,
    page: Page,
    form: dict[str, str],
    number: int,
) -> float:
    # On the same connection, the next request would wait for what follows a response.
    client = Person(address, visitor.cookies)
    forwarded = {"X-Forwarded-For": f"10.0.{number // 256}.{number % 256}"}
    start = time.perf_counter()
    response = client.post(page.path, form, headers=forwarded)
    took = (time.perf_counter() - start) * 1_000
    assert response.status in (200, 302), response.status
    client.pool.close()
    return took


def report(url: str, page: Page, times: dict[str, list[float]]) -> bool:
    """Print the result of a page, and return whether its times reveal nothing."""
    known = statistics.median(times["known"])
    unknown = statistics.median(times["unknown"])
    difference = known / unknown - 1
    p_value = find_p_value(times["known"], times["unknown"])
    print_result(
        "timing",
        database=url.partition(":")[0],
        page=page.name,
        requests=len(times["known"]),
        known_ms=round(known, 2),
        unknown_ms=round(unknown, 2),
        difference=f"{difference:+.1%}",
        p=round(p_value, 4),
    )
    return abs(difference) <= LARGEST_DIFFERENCE and p_value >= SMALLEST_P_VALUE


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", nargs="?", type=int, default=200)
    parser.add_argument("--fast-hashing", action="store_true")
    arguments = parser.parse_args()
    settings = "benchmarks.settings"
    if arguments.fast_hashing:
        settings = "benchmarks.fast_hashing"
    measure_times = partial(measure, requests=arguments.requests, settings=settings)
    return 0 if measure_on_both(measure_times, durable=False) else 1


if __name__ == "__main__":
    sys.exit(main())
