"""Guess secrets many times at once, over four server processes.

    python -m benchmarks.guessing [GUESSES]

Guesses the password on the sign-in page, the old password on the page that changes it,
the password on the page that asks people to confirm who they are, and the codes of an
authenticator app and recovery codes. Runs on SQLite and on PostgreSQL. The right secret
is among the guesses, but not among the first hundred. The exit status is 1 if more
guesses are compared than the limit allows, or if a guess is accepted.
"""

import argparse
import hmac
import random
import sys
import tempfile
import time
from base64 import b32decode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.databases import measure_on_both
from benchmarks.results import print_result
from tests.scratch import Scratch
from tests.servers import LOGIN, Person, serve

PROCESSES = 4
CLIENTS = 16  # that guess at the same time
LIMIT = 10  # guesses that the site compares
BUSY = 503  # the status if many people are signing in at the moment

CHANGE_PASSWORD = "/admin/password_change/"
# Asks people who signed in a while ago for their password.
ADD_USER = "/admin/orgadmin/user/add/"
ENTER_CODE = "/admin/second-factor/authenticate/"

APP_SECRET = "JBSWY3DPEHPK3PXP"
RECOVERY_SEED = "a" * 40

CREATE_PEOPLE = f"""
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from orgadmin.records.encryption import encrypt
from tests.factories import create_superuser

for name in ("password", "old", "confirm", "app", "recovery"):
    user = create_superuser(name)
    if name in ("app", "recovery"):
        data = {{"secret": encrypt("{APP_SECRET}")}}
        Authenticator.objects.create(user=user, type="totp", data=data)
        data = {{"seed": encrypt("{RECOVERY_SEED}"), "used_mask": 0}}
        codes = Authenticator.objects.create(
            user=user, type="recovery_codes", data=data
        )
print(RecoveryCodes(codes).get_unused_codes()[0])
"""
AGE_SESSIONS = """
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session

for row in Session.objects.all():
    session = SessionStore(row.session_key)
    if "signed_in" in session:
        session["signed_in"] -= 11 * 60
        session.save()
"""


def make_password() -> str:
    return "secret"


@dataclass(frozen=True)
class Place:
    """A page that checks a secret.

    `sign_in` is whether the clients sign in before they guess. `make_right` returns the
    right secret, and `make_wrong` a wrong one for each number.
    """

    name: str
    username: str
    page: str
    field: str
    sign_in: bool = True
    make_right: Callable[[], str] = make_password
    make_wrong: Callable[[int], str] = "guess {}".format

    def make_form(self, guess: str) -> dict[str, str]:
        form = {self.field: guess}
        if self.page == LOGIN:
            form["username"] = self.username
        if self.page == ADD_USER:
            # If the password is right, the page is opened again.
            form["step-up-reopen"] = "1"
        if self.page == CHANGE_PASSWORD:
            form |= dict.fromkeys(("new_password1", "new_password2"), "correct horse 7")
        return form


def list_places(recovery_code: str) -> list[Place]:
    # Never a code of the app, which has six digits.
    make_wrong_code = "{:08}".format
    return [
        Place("sign-in", "password", LOGIN, "password", sign_in=False),
        Place("old password", "old", CHANGE_PASSWORD, "old_password"),
        Place("confirm who you are", "confirm", ADD_USER, "step-up-password"),
        Place(
            "code",
            "app",
            ENTER_CODE,
            "code",
            make_right=make_app_code,
            make_wrong=make_wrong_code,
        ),
        Place(
            "recovery code",
            "recovery",
            ENTER_CODE,
            "code",
            make_right=lambda: recovery_code,
            make_wrong=make_wrong_code,
        ),
    ]


def make_app_code() -> str:
    """Return the code that the authenticator app shows now, as RFC 6238 describes."""
    step = int(time.time()) // 30
    digest = hmac.digest(b32decode(APP_SECRET), step.to_bytes(8), "sha1")
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def measure(url: str, guesses: int) -> bool:
    """Print what became of the guesses, and return whether all limits held."""
    with tempfile.TemporaryDirectory() as folder:
        return guess_everywhere(url, Path(folder, "compared"), guesses)


def guess_everywhere(url: str, compared_file: Path, guesses: int) -> bool:
    compared_file.write_bytes(b"")
    scratch = Scratch(url)
    scratch.migrate("--verbosity", "0")
    scratch.environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.counting"
    scratch.environment["SECOND_FACTOR"] = "optional"
    scratch.environment["COMPARED"] = str(compared_file)
    recovery_code = scratch.run(CREATE_PEOPLE).strip()
    have_held = []
    with serve(scratch.environment, PROCESSES) as server:
        for place in list_places(recovery_code):
            clients = make_clients(server.address, place)
            if place.page == ADD_USER:
                scratch.run(AGE_SESSIONS)
            compared_file.write_bytes(b"")
            start = time.perf_counter()
            statuses = guess_at_once(clients, place, guesses)
            compared = compared_file.stat().st_size
            figures = {
                "database": url.partition(":")[0],
                "place": place.name,
                "guesses": guesses,
                "processes": PROCESSES,
                "compared": compared,
                "accepted": statuses.count(302),
                "s": round(time.perf_counter() - start, 1),
            }
            print_result("guessing", **figures)
            have_held.append(compared == LIMIT and set(statuses) == {200})
    return all(have_held)


def make_clients(address: tuple[str, int], place: Place) -> list[Person]:
    """Return clients that can see the page, which share a session if they need one."""
    first = Person(address)
    if place.sign_in:
        assert first.sign_in(place.username)
    first.get(place.page)
    return [Person(address, first.cookies) for _ in range(CLIENTS)]


def guess_at_once(clients: list[Person], place: Place, guesses: int) -> list[int]:
    """Share the guesses among the clients, and return the statuses of the answers."""
    right = random.randrange(100, guesses)
    shares = [range(number, guesses, CLIENTS) for number in range(CLIENTS)]
    statuses = []
    with ThreadPoolExecutor(CLIENTS) as threads:
        for answers in threads.map(partial(guess, place, right), clients, shares):
            statuses += answers
    return statuses


def guess(
    place: Place, right: int, client: Person, numbers: Iterable[int]
) -> list[int]:
    statuses = []
    for number in numbers:
        is_right = number == right
        secret = place.make_right() if is_right else place.make_wrong(number)
        statuses.append(post_until_checked(client, place.page, place.make_form(secret)))
    return statuses


def post_until_checked(client: Person, page: str, form: dict[str, str]) -> int:
    """Post a form again while too many passwords are hashed, and return the status."""
    while True:
        status = client.post(page, form).status
        if status != BUSY:
            return status


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("guesses", nargs="?", type=int, default=10_000)
    guesses = parser.parse_args().guesses
    have_held = measure_on_both(partial(measure, guesses=guesses), durable=True)
    return 0 if have_held else 1


if __name__ == "__main__":
    sys.exit(main())
