"""The records of a table, into which each kind of file is converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The number of lines that are read to find the delimiter and the header of a file
SAMPLE_SIZE = 25


@dataclass(frozen=True)
class Record:
    """The cells of a line that is not empty, as text without surrounding blanks.

    `line` is the row number in a workbook. In a CSV file, a record has several lines if
    its cells contain line breaks. `line` is then the first one.
    """

    line: int  # counted from 1
    cells: list[str]


def make_record(line: int, cells: Sequence[str]) -> Record | None:
    """Return the record of a line, or None if all of its cells are empty."""
    stripped = [cell.strip() for cell in cells]
    return Record(line, stripped) if any(stripped) else None
