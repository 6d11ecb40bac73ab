"""Reading the table in a file, whatever its format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from orgadmin.records.imports.csv_reader import find_delimiter, read_csv
from orgadmin.records.imports.file_kinds import WORKBOOK, recognize
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import TitleReader
from orgadmin.records.imports.options import ImportOptions, Limits
from orgadmin.records.imports.problems import FileRefused, ImportProblem
from orgadmin.records.imports.text_encoding import ENCODINGS, find_encoding
from orgadmin.records.imports.workbooks import read_workbook


@dataclass(frozen=True)
class Format:
    """How a file was read. The person sees it, and can choose something else."""

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


# A workbook may have this many times as much text as bytes. The text fills the memory
# of the server, and a workbook stores a text once that a million cells have.
UNPACKED = 20

# And at most so many bytes more than the largest file. Only large files have so many.
MORE_TEXT = 80_000_000


@dataclass(frozen=True)
class Table:
    """The records of a file, which can be read once, and how the file was read."""

    format: Format
    records: Iterator[Record]


def name_delimiter(delimiter: str) -> str:
    names = {
        ",": _("commas"),
        ";": _("semicolons"),
        "\t": _("tabs"),
        "|": _("vertical bars"),
    }
    return names.get(delimiter, _("“%s”") % delimiter)


def read_table(file: BinaryIO, options: ImportOptions, titles: TitleReader) -> Table:
    """Return the table in a file.

    Raises `FileRefused` if there is none, if it is too large, or at the first line that
    cannot be read.
    """
    limits = options.limits
    size = file.seek(0, os.SEEK_END)
    if size > limits.size:
        raise FileRefused(describe_size(size, limits))
    if recognize(file) == WORKBOOK:
        sheet = read_workbook(
            file,
            options.sheet,
            max_rows=limits.rows + 1,
            max_text=min(UNPACKED * limits.size, limits.size + MORE_TEXT),
        )
        check_rows(sheet.rows, limits)
        return Table(Format(sheet=sheet.name, sheets=sheet.names), sheet.records)
    encoding = options.encoding or find_encoding(file)
    delimiter = find_delimiter(file, encoding, titles.rate)
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
    """Raise `FileRefused` if there are more rows than a header and the limit."""
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
