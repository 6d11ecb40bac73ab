"""Guess a password many times at once over four processes: how many guesses are compared, and does the right one help?

    python -m benchmarks.guessing [GUESSES]    # 10,000, on SQLite and on PostgreSQL

The right password is among them, after the first hundred. The exit status is 1 where more are compared than the limit
allows, or somebody is let in."""

import json
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.postgres import run_postgres as postgres
from tests.scratch import Scratch
from tests.servers import LOGIN, Person, serve

PROCESSES, AT_ONCE, LIMIT = 4, 16, 10
PERSON = "from tests.factories import *; create_superuser()"


def guess(url, folder, guesses):
    """Print what became of the guesses; tell whether the limit held."""
    scratch, compared = Scratch(url), Path(folder, "compared")
    scratch.migrate("--verbosity", "0")
    scratch.environment |= {
        "DJANGO_SETTINGS_MODULE": "benchmarks.counting",
        "COMPARED": str(compared),
    }
    scratch.run(PERSON)
    compared.write_bytes(b"")
    passwords = [f"guess {number}" for number in range(guesses)]
    passwords[random.randrange(100, guesses)] = "secret"
    began = time.perf_counter()
    with serve(scratch.environment, PROCESSES) as server:
        people = [Person(server.address) for _ in range(AT_ONCE)]

        def ask(person, mine):
            person.get(LOGIN)
            return [
                person.post(LOGIN, {"username": "root", "password": password}).status
                for password in mine
            ]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            parts = [passwords[number::AT_ONCE] for number in range(AT_ONCE)]
            statuses = [
                status for part in threads.map(ask, people, parts) for status in part
            ]
    count, seconds = compared.stat().st_size, round(time.perf_counter() - began, 1)
    told = {
        "guesses": guesses,
        "processes": PROCESSES,
        "compared": count,
        "let in": statuses.count(302),
        "s": seconds,
    }
    print(
        json.dumps({"what": "guessing", "database": url.partition(":")[0], **told}),
        flush=True,
    )
    return count == LIMIT and set(statuses) == {200}


def main(guesses=10_000):
    with tempfile.TemporaryDirectory() as folder:
        good = guess(f"sqlite:///{folder}/database", folder, guesses)
        with postgres() as url:
            return guess(url, folder, guesses) and good


if __name__ == "__main__":
    sys.exit(not main(*map(int, sys.argv[1:])))
