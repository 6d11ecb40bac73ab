"""A process that saves organizations of one name; benchmarks.writers starts many.

    python -m benchmarks.writer {ours,usual} SAVES NAME

It prints "ready", waits for a line on standard input, and prints as JSON how many saves
were lost and how many seconds the slowest one took.
"""

import json
import sys
import time

import django

django.setup()

# Models can be imported now that Django is set up.
from django.db import DatabaseError, connection, transaction

from benchmarks.peers.models import UsualOrganization
from orgadmin.models import Organization

MODELS = {"ours": Organization, "usual": UsualOrganization}


def main(side: str, saves: str, name: str) -> None:
    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    lost = 0
    slowest = 0.0
    for _ in range(int(saves)):
        start = time.perf_counter()
        try:
            with transaction.atomic():
                MODELS[side](name=name).save()
        except DatabaseError:
            lost += 1
        slowest = max(slowest, time.perf_counter() - start)
    print(json.dumps({"lost": lost, "slowest": slowest}))


if __name__ == "__main__":
    main(*sys.argv[1:])
