"""Writing CSV files for spreadsheets, including cells that look like formulas."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from django.http import StreamingHttpResponse
from django.utils import timezone

# The beginning of a cell that a spreadsheet would run as a formula. If there are
# already apostrophes before it, escaping adds one more, so unescaping restores the
# exact text.
FORMULA = re.compile(r"^('*[=+\-@\t\r])")
ESCAPED_FORMULA = re.compile(r"^'('*[=+\-@\t\r])")

# Spreadsheets read a CSV file as UTF-8 only if it begins with a byte order mark.
BYTE_ORDER_MARK = "\ufeff"


class _Echo:
    """A "file" whose write() returns the line, so that csv.writer returns it, too."""

    def write(self, line: str) -> str:
        return line


def write_csv(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield the lines of a CSV file. None is an empty cell."""
    writer = csv.writer(_Echo())
    for row in rows:
        yield writer.writerow([write_cell(value) for value in row])


def write_cell(value: object) -> str:
    text = "" if value is None else str(value)
    return escape_formula(text)


def escape_formula(text: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run as a formula."""
    return FORMULA.sub(r"'\1", text)


def unescape_formula(text: str) -> str:
    """Remove the apostrophe that `escape_formula()` added."""
    return ESCAPED_FORMULA.sub(r"\1", text)


def respond_with_csv(
    name: str, rows: Iterable[Iterable[object]]
) -> StreamingHttpResponse:
    """Return a response that streams the rows as the file "<name>-<date>.csv"."""
    response = StreamingHttpResponse(
        chain([BYTE_ORDER_MARK], write_csv(rows)),
        content_type="text/csv; charset=utf-8",
    )
    response["Content-Disposition"] = (
        f'attachment; filename="{name}-{timezone.localdate()}.csv"'
    )
    return response
