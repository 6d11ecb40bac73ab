"""The records of a table: what every kind of file is turned into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# How many lines of a file are looked at to find its delimiter and its header.
SAMPLE = 25


@dataclass(frozen=True)
class Record:
    """The cells of a line that is not empty, as text without blanks around it.

    A record of a CSV file spans several lines if its cells contain line breaks. `line`
    is the first, or the number of the row in a workbook.
    """

    line: int  # counted from 1
    cells: list[str]


def make_record(line: int, cells: Sequence[str]) -> Record | None:
    """Return the record of a line, or None if all of its cells are empty."""
    stripped = [cell.strip() for cell in cells]
    return Record(line, stripped) if any(stripped) else None
