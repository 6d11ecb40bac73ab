"""Processes that save organizations of one name at once, each save in a transaction: ours, and the usual way.

python -m benchmarks.writers [PROCESSES]    # in the database that DATABASE_URL names, which keeps what was saved
"""

import json
import os
import subprocess
import sys
import time

SAVES = {"ours": 50, "usual": 10}  # of each process
WRITER = """
import sys, time, django
django.setup()
from django.db import DatabaseError, connection, transaction
from benchmarks.peers.models import UsualOrganization
from orgadmin.models import Organization
model = {"ours": Organization, "usual": UsualOrganization}[sys.argv[1]]
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.readline()
slowest = lost = 0
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    try:
        with transaction.atomic():
            model(name=sys.argv[3]).save()
    except DatabaseError:
        lost += 1
    slowest = max(slowest, time.perf_counter() - start)
print(lost, slowest)
"""


def measure(name, count):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        WRITER,
        name,
        str(SAVES[name]),
        f"The Same Name {time.time()}",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, env=os.environ, **pipes) for _ in range(count)]
    for writer in writers:
        writer.stdout.readline()
    start = time.perf_counter()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    results = [writer.communicate()[0].split() for writer in writers]
    seconds = time.perf_counter() - start
    lost = sum(int(result[0]) for result in results)
    saved = count * SAVES[name] - lost
    slowest = max(float(result[1]) for result in results)
    print(
        json.dumps(
            {
                "what": f"{count} writers of one name: {name}",
                "saved": saved,
                "lost": lost,
                "saves per second": round(saved / seconds, 1),
                "slowest, s": round(slowest, 2),
            }
        ),
        flush=True,
    )
    return saved / seconds


def main(count=16):
    speeds = {name: measure(name, count) for name in SAVES}
    print(
        json.dumps(
            {
                "what": "writers: ours/usual",
                "ratio": round(speeds["ours"] / speeds["usual"], 1),
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
