"""Running functions at the same time, to test what happens in a race."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connection

Result = TypeVar("Result")


def run_together(*functions: Callable[[], Result]) -> list[Result]:
    """Run functions at the same time, and return their results in the same order.

    Each has a database connection of its own. An error in one of them is raised here
    once all have ended.
    """
    barrier = Barrier(len(functions))

    def run(function: Callable[[], Result]) -> Result:
        barrier.wait()
        try:
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))
