"""Reading many rows in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

BATCH = 1_000  # rows

Item = TypeVar("Item")


def read_in_batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield lists of BATCH items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
