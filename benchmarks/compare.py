"""Measure functions in turn, so that a busy machine slows all of them equally."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Undo: TypeAlias = Callable[[], object]
Measured: TypeAlias = Callable[[], Undo | None]


def compare(
    functions: Mapping[str, Measured], pairs: int, budget: float = 120.0
) -> dict[str, list[float]]:
    """Call {name: function} in turn and return {name: [milliseconds]}.

    Each function is called `pairs` times, or fewer if that takes longer than `budget`
    seconds. A function may return another one that undoes its work; that one is called
    right afterwards, and not measured.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        measure(function)  # the first call fills caches, so it does not count
    names = list(functions)
    end = time.perf_counter() + budget
    for number in range(pairs):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(measure(functions[name]))
        if time.perf_counter() > end:
            break
    return times


def measure(function: Measured) -> float:
    """Call a function, undo its work, and return the milliseconds of the call.

    Garbage collection stays on, as on a server. Without it, a call leaves its garbage
    in memory that is then returned to the system, and the next call asks for it again.
    How often that happens depends on where modules were loaded, not on their code.
    """
    start = time.perf_counter()
    undo = function()
    milliseconds = (time.perf_counter() - start) * 1000
    if undo is not None:
        undo()
    return milliseconds


def find_ratio(times: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    """Return the median of the ratios of `name` to `other`, pair by pair."""
    return statistics.median(a / b for a, b in zip(times[name], times[other]))
