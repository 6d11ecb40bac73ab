"""Reading the table in a CSV file or a workbook."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from orgadmin.records.imports.csv_reader import find_delimiter, read_csv
from orgadmin.records.imports.file_kinds import WORKBOOK, recognize_kind
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import TitleReader
from orgadmin.records.imports.options import ImportOptions, Limits
from orgadmin.records.imports.problems import FileRefused, ImportProblem
from orgadmin.records.imports.text_encoding import ENCODINGS, find_encoding
from orgadmin.records.imports.workbooks import read_workbook


@dataclass(frozen=True)
class Format:
    """How a file was read.

    The preview shows this, and people can change the encoding and the sheet.
    """

    encoding: str = ""  # a key of ENCODINGS; empty for a workbook
    delimiter: str = ""
    sheet: str = ""  # empty for a CSV file
    sheets: Sequence[str] = ()

    def __str__(self) -> str:
        if self.encoding:
            values = {
                "encoding": ENCODINGS.get(self.encoding, self.encoding),
                "delimiter": name_delimiter(self.delimiter),
            }
            return _("CSV, %(encoding)s, separated by %(delimiter)s") % values
        return _("workbook, sheet “%s”") % self.sheet


# A workbook stores a text only once, even if a million cells contain it. These limits
# prevent the text of all cells from filling the server's memory. The text can have at
# most this many times the maximum size of a file, ...
MAX_TEXT_RATIO = 20

# ... and at most this many characters more than the maximum size of a file.
MAX_EXTRA_TEXT = 80_000_000


@dataclass(frozen=True)
class Table:
    """The records of a file, and how the file was read."""

    format: Format
    records: Iterator[Record]  # can be read once


def name_delimiter(delimiter: str) -> str:
    names = {
        ",": _("commas"),
        ";": _("semicolons"),
        "\t": _("tabs"),
        "|": _("vertical bars"),
    }
    return names.get(delimiter, _("“%s”") % delimiter)


def read_table(
    file: BinaryIO, options: ImportOptions, title_reader: TitleReader
) -> Table:
    """Return the table in a file.

    Raises `FileRefused` if the file does not contain a table, or if it is too large.
    Reading the records raises `FileRefused` at the first line that cannot be read.
    """
    limits = options.limits
    size = file.seek(0, os.SEEK_END)
    if size > limits.size:
        raise FileRefused(describe_size(size, limits))
    if recognize_kind(file) == WORKBOOK:
        sheet = read_workbook(
            file,
            options.sheet,
            max_rows=limits.rows + 1,
            max_text=min(MAX_TEXT_RATIO * limits.size, limits.size + MAX_EXTRA_TEXT),
        )
        check_rows(sheet.rows, limits)
        return Table(Format(sheet=sheet.name, sheets=sheet.names), sheet.records)
    encoding = options.encoding or find_encoding(file)
    delimiter = find_delimiter(file, encoding, title_reader.rate)
    records = read_csv(file, encoding, delimiter)
    return Table(Format(encoding, delimiter), limit_rows(records, limits))


def limit_rows(records: Iterator[Record], limits: Limits) -> Iterator[Record]:
    """Yield the records. Raises `FileRefused` if there are too many."""
    rows = 0
    for record in records:
        rows += 1
        if rows > limits.rows + 1:
            rows += sum(1 for _rest in records)
            check_rows(rows, limits)
        yield record


def check_rows(rows: int, limits: Limits) -> None:
    """Raise `FileRefused` if there are too many rows. `rows` includes the header."""
    if rows <= limits.rows + 1:
        return
    message = _(
        "The file has %(rows)s rows, and at most %(limit)s can be imported. Split it"
        " into smaller files, and import them one by one."
    )
    values = {
        "rows": number_format(rows - 1, force_grouping=True),
        "limit": number_format(limits.rows, force_grouping=True),
    }
    raise FileRefused(ImportProblem(message % values))


def describe_size(size: int, limits: Limits) -> ImportProblem:
    message = _(
        "The file has %(size)s MB, and at most %(limit)s MB can be imported. Split it"
        " into smaller files, and import them one by one."
    )
    values = {
        "size": number_format(size / 1_000_000, decimal_pos=1),
        "limit": number_format(limits.size / 1_000_000, decimal_pos=1),
    }
    return ImportProblem(message % values)
