"""Reading a CSV file: its lines, its records, and its header."""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from django.utils.translation import gettext as _

from orgadmin.records.columns import find_field
from orgadmin.records.csv_files import unescape_formula
from orgadmin.records.import_problems import (
    FileRefused,
    ImportProblem,
    printable,
)

DELIMITERS = (",", ";", "\t")
WORKBOOK_SIGNATURE = b"PK\x03\x04"  # .xlsx and .ods files are ZIP archives
CONTEXT = 20  # bytes before an invalid one that a message repeats


@dataclass(frozen=True)
class Record:
    """The cells of a line that is not empty.

    A record whose cells contain line breaks spans several lines. `line` is the first.
    """

    line: int  # counted from 1
    cells: list[str]


@dataclass(frozen=True)
class Header:
    """The columns of the file, and the field that each of them contains."""

    titles: list[str]
    positions: dict[str, int]  # {field: index of its column}
    ignored: list[str]  # printable titles of the columns that are not known

    @property
    def has_key(self) -> bool:
        """Whether a column can identify existing organizations."""
        return "id" in self.positions or "reference" in self.positions

    def find_title(self, field: str) -> str:
        """Return the title of a field's column, as it is written in the file."""
        return self.titles[self.positions[field]]


def read_records(file: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records of a CSV file that are not empty; the first is the header.

    Raises `FileRefused` at the first line that is not valid CSV in UTF-8.
    """
    lines = decode_lines(file)
    first_line = next(lines, "")
    if not first_line.strip():
        raise FileRefused(
            ImportProblem(
                _("The file has no header line. Its first line must name the columns.")
            )
        )
    reader = csv.reader(
        chain([first_line], lines),
        delimiter=guess_delimiter(first_line),
        strict=True,
    )
    line = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield Record(line, [unescape_formula(cell) for cell in stripped])
            # The next record begins here, even if this one spans several lines.
            line = reader.line_num + 1
    except csv.Error as error:
        message = _(
            "This line is not valid CSV (%s). Look for an unmatched quotation mark."
        )
        raise FileRefused(ImportProblem(message % error, line)) from error


def decode_lines(file: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, without a byte order mark.

    Raises `FileRefused` if it is a workbook, or not in UTF-8.
    """
    for number, line in enumerate(file, start=1):
        if number == 1:
            check_not_workbook(line)
        yield decode_line(line, number)


def check_not_workbook(first_line: bytes) -> None:
    if first_line.startswith(WORKBOOK_SIGNATURE):
        message = _(
            "This is a workbook, not a CSV file. Save it as “CSV UTF-8” and import that"
            " file."
        )
        raise FileRefused(ImportProblem(message))


def decode_line(line: bytes, number: int) -> str:
    """Decode a line of UTF-8, without a byte order mark at the start of the file.

    `number` is that of the line, counted from 1. Raises `FileRefused` with the text
    before the first byte that is not valid UTF-8.
    """
    if number == 1:
        line = line.removeprefix(BOM_UTF8)
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        start = max(error.start - CONTEXT, 0)
        # This part is valid, except that the cut may have split its first character.
        before = line[start : error.start].decode("utf-8", "replace").strip()
        message = _(
            "The file is not encoded in UTF-8. Save it as “CSV UTF-8” and import that"
            " file."
        )
        problem = ImportProblem(message, number, value=f"{before}\ufffd")
        raise FileRefused(problem) from error


def guess_delimiter(header_line: str) -> str:
    """Return the delimiter that splits a header line into the most known titles."""
    counts = {}
    for delimiter in DELIMITERS:
        titles = header_line.split(delimiter)
        known = [title for title in titles if find_field(title) is not None]
        counts[delimiter] = len(known)
    return max(DELIMITERS, key=lambda delimiter: counts[delimiter])


def read_header(record: Record) -> Header:
    """Return the header that the first record contains.

    Raises `FileRefused` if two columns contain the same field, or if none contains the
    name.
    """
    titles = record.cells
    positions: dict[str, int] = {}
    ignored = []
    for position, title in enumerate(titles):
        field = find_field(title)
        if field is not None:
            positions[field] = position
        else:
            untitled = _("(column %d, without a title)") % (position + 1)
            ignored.append(printable(title) or untitled)
    header = Header(titles, positions, ignored)
    check_columns_differ(header, record.line)
    check_has_names(header, record.line)
    return header


def check_columns_differ(header: Header, line: int) -> None:
    """Raise `FileRefused` if two columns contain the same field."""
    for position, title in enumerate(header.titles):
        field = find_field(title)
        if field is None or header.positions[field] == position:
            continue
        message = _(
            "This column and column “%(other)s” both contain “%(field)s”. Remove one of"
            " them."
        )
        raise FileRefused(
            ImportProblem(
                message % {"other": title, "field": field},
                line,
                column=header.find_title(field),
            )
        )


def check_has_names(header: Header, line: int) -> None:
    """Raise `FileRefused` if no column contains the names of the organizations."""
    if "name" in header.positions:
        return
    titles = ", ".join(printable(title) or "-" for title in header.titles)
    message = _(
        "There is no column “name”. The columns are: %s. Change the title of the column"
        " that contains the names of the organizations to “name”."
    )
    raise FileRefused(ImportProblem(message % titles, line))
