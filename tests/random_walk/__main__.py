"""Walk at random for long: `python -m tests.random_walk WALKS [SEED] [--postgres]`.

Each walk has 100 steps. At the end, everybody looks at every page. Without --postgres,
the walks run on SQLite. To walk like a walk that failed, give its seed.
"""

import os
import sys
from collections.abc import Sequence

from tests.__main__ import IN_MEMORY, run_tests
from tests.postgres import run_postgres

TEST = ["tests.test_random_walk.RandomWalkTests", "--parallel", "1"]


def main(arguments: Sequence[str]) -> int:
    numbers = [argument for argument in arguments if argument.isdigit()]
    os.environ |= {
        "RANDOM_WALKS": numbers[0] if numbers else "200",
        "RANDOM_WALK_SEED": numbers[1] if len(numbers) > 1 else "1000",
        "RANDOM_WALK_STEPS": "100",
        "RANDOM_WALK_SHARE": "1",
    }
    if "--postgres" not in arguments:
        return run_tests("SQLite", IN_MEMORY, TEST)
    with run_postgres() as url:
        return run_tests("PostgreSQL", url, TEST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
