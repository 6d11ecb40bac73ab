"""Writing workbooks (.xlsx) in which every cell is text.

Spreadsheets do not remove leading zeros from such cells, and do not run formulas in
them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, cast

from django.http import FileResponse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from xlsxwriter import Workbook

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# The limits of a sheet, and of a cell
MAX_ROWS = 1_048_576
MAX_CELL = 32_767  # characters

# What xlsxwriter returns if it leaves out a cell that is outside of the sheet or too
# long
OUTSIDE = -1
TOO_LONG = -2

# Characters that XML cannot contain, without control characters, which xlsxwriter
# escapes.
NOT_IN_XML = re.compile("[\ufffe\uffff\ud800-\udfff]")
REPLACEMENT = "\ufffd"

# The first rows, which determine the width of the columns
SAMPLE_SIZE = 100
MIN_WIDTH = 8
MAX_WIDTH = 50

# The number format for text. Empty cells also have it, so that leading zeros remain
# when people enter numbers.
TEXT = "@"

Row = Sequence[object]


class WorkbookTooSmall(Exception):
    """The rows do not fit into a workbook. The message says why, and what to do."""


def write_workbook(file: BinaryIO, rows: Iterable[Row], sheet_name: str) -> None:
    """Write a workbook with one sheet. The first row is its header.

    Keeps a few rows in memory, and all others in a temporary file. Raises
    `WorkbookTooSmall` if there are too many rows, or if a text is too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        workbook = Workbook(file, {"constant_memory": True, "tmpdir": folder})
        sheet = workbook.add_worksheet(sheet_name)
        write_sheet(workbook, sheet, rows)
        workbook.close()


def write_sheet(
    workbook: Workbook, sheet: Any, rows: Iterable[Row], *, is_wrapped: bool = False
) -> None:
    """Write a sheet with a frozen header. With `is_wrapped`, wrap long texts."""
    remaining = iter(rows)
    sample = list(islice(remaining, SAMPLE_SIZE))
    bold = workbook.add_format({"bold": True, "num_format": TEXT})
    text = workbook.add_format(
        {"num_format": TEXT, "text_wrap": is_wrapped, "valign": "top"}
    )
    for column, width in enumerate(find_widths(sample)):
        sheet.set_column(column, column, width, text)
    sheet.freeze_panes(1, 0)
    # Otherwise, Excel shows a warning at each number that is stored as text.
    sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{MAX_ROWS}"})
    for number, row in enumerate(chain(sample, remaining)):
        write_row(sheet, number, row, bold if number == 0 else text)


def write_row(sheet: Any, number: int, row: Row, cell_format: Any) -> None:
    """Write a row. None means an empty cell. Raises `WorkbookTooSmall`."""
    for column, value in enumerate(row):
        if value is None or value == "":
            continue
        text = NOT_IN_XML.sub(REPLACEMENT, str(value))
        status = sheet.write_string(number, column, text, cell_format)
        if status == OUTSIDE:
            raise WorkbookTooSmall(explain_rows())
        if status == TOO_LONG:
            raise WorkbookTooSmall(explain_text(number + 1))


def find_widths(rows: Sequence[Row]) -> Iterator[int]:
    """Yield the width of each column, in characters."""
    columns = max((len(row) for row in rows), default=0)
    for column in range(columns):
        longest = MIN_WIDTH
        for row in rows:
            if column < len(row) and row[column] is not None:
                longest = max(longest, len(str(row[column])))
        yield min(longest, MAX_WIDTH) + 1


def explain_rows() -> str:
    text = _(
        "A workbook can have at most %(limit)s rows, and this list has more. Download"
        " the list as CSV instead."
    )
    return text % {"limit": number_format(MAX_ROWS, force_grouping=True)}


def explain_text(row: int) -> str:
    text = _(
        "A cell of a workbook can have at most %(limit)s characters, and a cell in row"
        " %(row)s of this list has more. Download the list as CSV instead."
    )
    return text % {
        "limit": number_format(MAX_CELL, force_grouping=True),
        "row": number_format(row, force_grouping=True),
    }


def respond_with_workbook(name: str, rows: Iterable[Row]) -> FileResponse:
    """Return a response with the rows as the file "<name>-<date>.xlsx".

    First writes the whole workbook to a temporary file. Raises `WorkbookTooSmall`.
    """
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    try:
        write_workbook(file, rows, name)
    except BaseException:
        file.close()
        raise
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    return respond_with_file(file, f"{name}-{today}")


def respond_with_file(file: BinaryIO, name: str) -> FileResponse:
    """Return a response with a workbook that was written to a file."""
    file.seek(0)
    return FileResponse(
        file,
        as_attachment=True,
        filename=f"{name}.xlsx",
        content_type=CONTENT_TYPE,
    )
