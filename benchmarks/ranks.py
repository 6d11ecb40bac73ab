"""The Mann-Whitney test: whether two groups of measurements differ."""

import math
from collections import Counter
from collections.abc import Sequence


def find_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Return how likely it is that groups from one source differ at least this much.

    Uses the normal approximation with a correction for ties, which is exact enough for
    more than 20 measures in each group.
    """
    ranks = rank([*first, *second])
    size = len(ranks)
    rank_sum = sum(ranks[: len(first)])
    u = rank_sum - len(first) * (len(first) + 1) / 2
    mean = len(first) * len(second) / 2
    ties = sum(n**3 - n for n in Counter([*first, *second]).values())
    variance = mean / 6 * (size + 1 - ties / (size * (size - 1)))
    if variance == 0:
        return 1.0
    # Half a rank, because ranks are whole numbers.
    distance = max(abs(u - mean) - 0.5, 0) / math.sqrt(variance)
    return math.erfc(distance / math.sqrt(2))


def rank(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share the mean of their ranks."""
    positions: dict[float, list[int]] = {}
    for position, value in enumerate(sorted(values), start=1):
        positions.setdefault(value, []).append(position)
    return [sum(positions[value]) / len(positions[value]) for value in values]
