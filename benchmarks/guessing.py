"""Guess a password many times at once, over four server processes.

    python -m benchmarks.guessing [GUESSES]

Runs on SQLite and on PostgreSQL. The right password is among the
guesses, but not among the first hundred. The exit status is 1 if more guesses are
compared than the limit allows, or if a guess signs in.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.results import print_result
from tests.postgres import run_postgres
from tests.scratch import Scratch
from tests.servers import LOGIN, Person, serve

PROCESSES = 4
CLIENTS = 16  # that guess at the same time
LIMIT = 10  # guesses that the site compares
CREATE_PERSON = "from tests.factories import create_superuser; create_superuser()"


def measure(url: str, folder: str, guesses: int) -> bool:
    """Print what became of the guesses, and return whether the limit held."""
    compared_file = Path(folder, "compared")
    scratch = Scratch(url)
    scratch.migrate("--verbosity", "0")
    scratch.environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.counting"
    scratch.environment["COMPARED"] = str(compared_file)
    scratch.run(CREATE_PERSON)
    compared_file.write_bytes(b"")
    start = time.perf_counter()
    with serve(scratch.environment, PROCESSES) as server:
        statuses = guess_at_once(server.address, make_passwords(guesses))
    compared = compared_file.stat().st_size
    figures = {
        "database": url.partition(":")[0],
        "guesses": guesses,
        "processes": PROCESSES,
        "compared": compared,
        "let in": statuses.count(302),
        "s": round(time.perf_counter() - start, 1),
    }
    print_result("guessing", **figures)
    return compared == LIMIT and set(statuses) == {200}


def make_passwords(guesses: int) -> list[str]:
    passwords = [f"guess {number}" for number in range(guesses)]
    passwords[random.randrange(100, guesses)] = "secret"
    return passwords


def guess_at_once(address: tuple[str, int], passwords: list[str]) -> list[int]:
    """Share the passwords among the clients, and return the statuses of the answers."""
    clients = [Person(address) for _ in range(CLIENTS)]
    shares = [passwords[number::CLIENTS] for number in range(CLIENTS)]
    statuses = []
    with ThreadPoolExecutor(CLIENTS) as threads:
        for answers in threads.map(guess, clients, shares):
            statuses += answers
    return statuses


def guess(client: Person, passwords: Iterable[str]) -> list[int]:
    client.get(LOGIN)
    statuses = []
    for password in passwords:
        data = {"username": "root", "password": password}
        statuses.append(client.post(LOGIN, data).status)
    return statuses


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("guesses", nargs="?", type=int, default=10_000)
    guesses = parser.parse_args().guesses
    with tempfile.TemporaryDirectory() as folder:
        held_on_sqlite = measure(f"sqlite:///{folder}/database", folder, guesses)
        with run_postgres() as url:
            held_on_postgres = measure(url, folder, guesses)
    return 0 if held_on_sqlite and held_on_postgres else 1


if __name__ == "__main__":
    sys.exit(main())
