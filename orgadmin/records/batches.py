"""Reading many rows in batches."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from django.db.models import F, Model, QuerySet, Value
from django.db.models.functions import Coalesce, Length

from orgadmin.access.batches import split_into_batches

BATCH = 1_000  # rows

# The maximum text in a batch of `read_by_size()`, unless a single row has more.
BATCH_TEXT = 1_000_000  # characters

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Model)


def read_in_batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Return lists of BATCH items; the last one may be shorter."""
    return split_into_batches(items, BATCH)


def read_by_size(rows: QuerySet[Row], texts: Sequence[str]) -> Iterator[list[Row]]:
    """Yield the rows in their order, in lists that are small enough for memory.

    A list has at most BATCH rows, and at most BATCH_TEXT characters in the fields that
    `texts` names, unless a single row has more. Reads the keys and sizes of all rows
    first, and then each list by its keys. The rows can therefore be read even if a
    connection pooler does not support cursors that stay open. Skips rows that are
    deleted in the meantime.
    """
    keys = array("q")
    sizes = array("q")
    length = sum((Coalesce(Length(F(name)), 0) for name in texts), Value(0))
    for key, size in rows.values_list("pk", length).iterator():
        keys.append(key)
        sizes.append(size)
    start = 0
    while start < len(keys):
        end = _find_end(sizes, start)
        batch = keys[start:end].tolist()
        found = rows.order_by().in_bulk(batch)
        yield [found[key] for key in batch if key in found]
        start = end


def _find_end(sizes: Sequence[int], start: int) -> int:
    """Return where the batch that begins at `start` ends. It has at least one row."""
    end = start + 1
    text = sizes[start]
    while end < len(sizes) and end - start < BATCH:
        text += sizes[end]
        if text > BATCH_TEXT:
            break
        end += 1
    return end
