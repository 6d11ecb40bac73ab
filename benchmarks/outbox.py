"""Kill the worker while it sends mail, and count what is lost and what arrives twice.

    python -m benchmarks.outbox [MAILS] [KILLS]

Invites as many people (1,000), and kills the worker as many times (20) meanwhile, on
each database. A real mail server counts what arrives. The last worker waits, as in
production, until the leases of the killed ones have ended: five minutes. Prints a line
for each database. The exit status is 1 if anything is lost.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.killing import Outcome, send_and_kill
from tests.postgres import run_postgres
from tests.scratch import Scratch


def measure(name: str, url: str, mails: int, kills: int) -> Outcome:
    scratch = Scratch(url)
    scratch.migrate()
    start = time.monotonic()
    outcome = send_and_kill(scratch, mails=mails, kills=kills, end_leases=False)
    seconds = time.monotonic() - start
    print(
        f"{name}: {mails:,} messages, {kills} kills, {seconds:.0f} s:"
        f" {mails - outcome.arrived} lost, {outcome.left} left,"
        f" {outcome.duplicates} duplicates, of which {outcome.recognizable} have the"
        " ID and the text of the first message",
        flush=True,
    )
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mails", type=int, nargs="?", default=1_000)
    parser.add_argument("kills", type=int, nargs="?", default=20)
    options = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'outbox.sqlite3')}"
        outcomes.append(measure("SQLite", url, options.mails, options.kills))
    with run_postgres(durable=True) as url:
        outcomes.append(measure("PostgreSQL", url, options.mails, options.kills))
    return int(any(outcome.arrived < options.mails for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
