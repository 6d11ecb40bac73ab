"""Processes that save 50 organizations of one name each, each save in a transaction: saves per second, slowest."""

import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SAVES = 50
WRITER = f"""
import sys, time, django
django.setup()
from django.db import connection, transaction
from orgadmin.models import Organization
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.readline()
slowest = 0
for _ in range({SAVES}):
    start = time.perf_counter()
    with transaction.atomic():
        Organization(name=sys.argv[1]).save()
    slowest = max(slowest, time.perf_counter() - start)
print(slowest)
"""


def main(count=16):
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "-c", WRITER, f"The Same Name {time.time()}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) for _ in range(count)]
    for writer in writers:
        writer.stdout.readline()
    start = time.perf_counter()
    results = run_together(writers)
    seconds = time.perf_counter() - start
    lost = sum(writer.wait() != 0 for writer in writers)
    slowest = max(float(result) for result in results if result)
    print(f"{count} processes, {count * SAVES} saves, {lost} processes failed:", end=" ")
    print(f"{count * SAVES / seconds:.0f} saves per second, slowest {slowest * 1000:.0f} ms")


def run_together(writers):
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return [writer.stdout.read().strip() for writer in writers]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
