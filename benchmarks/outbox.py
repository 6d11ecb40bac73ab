"""Kill the worker while it sends mail, and count what is lost and what arrives twice.

    python -m benchmarks.outbox [MAILS] [KILLS]

Invites as many people (1,000), and kills the worker as many times (20) meanwhile, on
each database. A real mail server counts what arrives. The last worker waits, as in
production, until the leases of the killed ones have ended: five minutes. Prints a line
of JSON for each database. `recognizable` are the duplicates with the ID and the text of
the first message. The exit status is 1 if anything is lost.
"""

import argparse
import sys
import time
from functools import partial

from benchmarks.databases import measure_on_both
from benchmarks.results import print_result
from tests.killing import send_and_kill
from tests.scratch import Scratch


def measure(url: str, mails: int, kills: int) -> bool:
    """Print what became of the mail, and return whether all of it arrived."""
    scratch = Scratch(url)
    scratch.migrate()
    start = time.monotonic()
    outcome = send_and_kill(scratch, mails=mails, kills=kills, end_leases=False)
    seconds = time.monotonic() - start
    print_result(
        "outbox",
        database=url.partition(":")[0],
        mails=mails,
        kills=kills,
        s=round(seconds),
        lost=mails - outcome.arrived,
        left=outcome.left,
        duplicates=outcome.duplicates,
        recognizable=outcome.recognizable,
    )
    return outcome.arrived >= mails


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mails", type=int, nargs="?", default=1_000)
    parser.add_argument("kills", type=int, nargs="?", default=20)
    options = parser.parse_args()
    measure_mail = partial(measure, mails=options.mails, kills=options.kills)
    return 0 if measure_on_both(measure_mail, durable=True) else 1


if __name__ == "__main__":
    sys.exit(main())
