"""Writing CSV files for spreadsheets, including cells that look like formulas."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from django.http import StreamingHttpResponse
from django.utils import timezone

# The characters that begin a formula in a spreadsheet. Some programs also accept their
# wide forms from East Asian keyboards.
FORMULA_SIGNS = "=+\\-@＝＋－＠"

# Where a spreadsheet could see the beginning of a cell: at its actual beginning, and
# after each character that may separate cells or lines. The separators depend on the
# language of the spreadsheet program. In German, for example, semicolons separate
# cells. Spaces and quotation marks may follow, because some programs ignore them.
CELL_START = r"""(?:^|(?<=[;,\t\r\n]))[\s"]*"""

# If there are already apostrophes before the sign, escaping adds one more, so that
# unescaping restores the exact text.
FORMULA = re.compile(rf"({CELL_START}'*)([{FORMULA_SIGNS}])")
ESCAPED_FORMULA = re.compile(rf"({CELL_START}'*)'([{FORMULA_SIGNS}])")

# Some spreadsheets skip tabs and line breaks at the beginning of a cell.
BLANK_START = re.compile(r"^('*)(?=[\t\r\n])")
ESCAPED_BLANK_START = re.compile(r"^('*)'(?=[\t\r\n])")

# Spreadsheets read a CSV file as UTF-8 only if it begins with a byte order mark.
BYTE_ORDER_MARK = "\ufeff"

LINE_END = "\r\n"


class _Echo:
    """A "file" whose write() returns the line, so that csv.writer returns it, too."""

    def write(self, line: str) -> str:
        return line


def write_csv(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield the lines of a CSV file. None is an empty cell."""
    writer = csv.writer(_Echo(), lineterminator=LINE_END)
    for row in rows:
        yield writer.writerow([write_cell(value) for value in row])


def write_cell(value: object) -> str:
    text = "" if value is None else str(value)
    return escape_formula(text)


def escape_formula(text: str) -> str:
    """Put an apostrophe before everything that a spreadsheet could run as a formula."""
    escaped = FORMULA.sub(r"\1'\2", text)
    return BLANK_START.sub(r"\1'", escaped)


def unescape_formula(text: str) -> str:
    """Remove the apostrophes that `escape_formula()` added."""
    unescaped = ESCAPED_BLANK_START.sub(r"\1", text)
    return ESCAPED_FORMULA.sub(r"\1\2", unescaped)


def respond_with_csv(
    name: str, rows: Iterable[Iterable[object]]
) -> StreamingHttpResponse:
    """Return a response that streams the rows as the file "<name>-<date>.csv"."""
    response = StreamingHttpResponse(
        chain([BYTE_ORDER_MARK], write_csv(rows)),
        content_type="text/csv; charset=utf-8",
    )
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    response["Content-Disposition"] = f'attachment; filename="{name}-{today}.csv"'
    return response
