"""Measure many processes that save organizations of one name at the same time.

    python -m benchmarks.writers [PROCESSES]

Each save is a transaction of its own. DATABASE_URL names a database that
benchmarks.fill filled; what is saved stays there. Compares ours with the usual way.
"""

import argparse
import json
import subprocess
import sys
import time

from benchmarks.results import print_result

SAVES = {"ours": 50, "usual": 10}  # by each process


def measure(side: str, processes: int) -> float:
    """Print how the saves went, and return how many there were per second."""
    name = f"The Same Name {time.time()}"
    writers = [start_writer(side, name) for _ in range(processes)]
    for writer in writers:
        writer.stdout.readline()
    start = time.perf_counter()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    results = [json.loads(writer.communicate()[0]) for writer in writers]
    seconds = time.perf_counter() - start
    lost = sum(result["lost"] for result in results)
    saved = processes * SAVES[side] - lost
    slowest = max(result["slowest"] for result in results)
    figures = {
        "saved": saved,
        "lost": lost,
        "saves per second": round(saved / seconds, 1),
        "slowest, s": round(slowest, 2),
    }
    print_result(f"{processes} writers of one name: {side}", **figures)
    return saved / seconds


def start_writer(side: str, name: str) -> subprocess.Popen[str]:
    arguments = [side, str(SAVES[side]), name]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.writer", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("processes", nargs="?", type=int, default=16)
    processes = parser.parse_args().processes
    speeds = {side: measure(side, processes) for side in SAVES}
    ratio = round(speeds["ours"] / speeds["usual"], 1)
    print_result("writers: ours/usual", ratio=ratio)


if __name__ == "__main__":
    main()
