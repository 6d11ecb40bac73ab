"""Measure things in turn, so that what else the machine does meets all of them alike."""

import gc
import statistics
import time


def compare(things, pairs, budget=120.0):
    """Call each of {name: function} in turn, `pairs` times or for `budget` seconds; return {name: [milliseconds]}.
    A function may return another one, which is called after it, and not measured: it undoes what was done."""
    times = {name: [] for name in things}
    for function in things.values():
        if undo := function():
            undo()
    names, end = list(things), time.perf_counter() + budget
    for number in range(pairs):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.disable()
            start = time.perf_counter()
            undo = things[name]()
            times[name].append((time.perf_counter() - start) * 1000)
            gc.enable()
            if undo:
                undo()
        if time.perf_counter() > end:
            break
    return times


def ratio(times, name, other):
    """Return the median of the ratios of the pairs."""
    return statistics.median(a / b for a, b in zip(times[name], times[other]))
