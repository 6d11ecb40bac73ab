"""Sign in many people at once, and measure how long others wait for a page.

    python -m benchmarks.crowd [PEOPLE]

Runs gunicorn as docs/deployment does, on SQLite, with the real password hasher. Prints
how long the list page takes while nobody signs in and while everybody does, in
milliseconds, and how the sign-ins were answered. The passwords are wrong, so that each
is hashed once.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from benchmarks.results import print_result
from tests.scratch import Scratch
from tests.servers import LIST, LOGIN, Person, serve

CREATE_PERSON = "from tests.factories import create_superuser; create_superuser()"
QUIET_TIME = 3  # seconds


def read_list(reader: Person) -> float:
    """Read the list page, and return how long that took, in milliseconds."""
    start = time.perf_counter()
    response = reader.get(LIST)
    assert response.status == 200
    return 1000 * (time.perf_counter() - start)


def read_until(reader: Person, is_over: threading.Event) -> list[float]:
    times = []
    while not is_over.is_set():
        times.append(read_list(reader))
        time.sleep(0.05)
    return times


def try_to_sign_in(person: Person, number: int) -> int:
    data = {"username": f"somebody {number}", "password": "wrong"}
    return person.post(LOGIN, data).status


def sign_in_at_once(people: list[Person]) -> Counter[int]:
    with ThreadPoolExecutor(len(people)) as threads:
        return Counter(threads.map(try_to_sign_in, people, range(len(people))))


def summarize(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times)), "most": round(max(times))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("people", nargs="?", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(f"sqlite:///{folder}/database")
        scratch.migrate("--verbosity", "0")
        scratch.environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
        scratch.run(CREATE_PERSON)
        workers = (os.cpu_count() or 1) + 1
        with serve(scratch.environment, workers) as server:
            measure(server.address, options.people)


def measure(address: tuple[str, int], number: int) -> None:
    reader = Person(address)
    assert reader.sign_in("root")
    people = [Person(address) for _ in range(number)]
    for person in people:
        person.get(LOGIN)
    is_over = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        quiet = thread.submit(read_until, reader, is_over)
        time.sleep(QUIET_TIME)
        is_over.set()
        print_result("list page, quiet", **summarize(quiet.result()))
        is_over = threading.Event()
        busy = thread.submit(read_until, reader, is_over)
        start = time.perf_counter()
        statuses = sign_in_at_once(people)
        seconds = time.perf_counter() - start
        is_over.set()
        print_result("list page, crowd", **summarize(busy.result()))
    answers = {str(status): count for status, count in statuses.items()}
    print_result("sign-ins", people=number, s=round(seconds, 1), **answers)


if __name__ == "__main__":
    main()
