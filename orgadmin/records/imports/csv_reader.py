"""Reading the records of a CSV file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from django.utils.translation import gettext as _

from orgadmin.records.csv_files import unescape_formula
from orgadmin.records.imports.file_records import SAMPLE_SIZE, Record, make_record
from orgadmin.records.imports.problems import FileRefused, ImportProblem
from orgadmin.records.imports.text_encoding import find_damage

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?[\r\n]*", re.IGNORECASE)

# Without this limit, an unmatched quotation mark would turn the rest of a file into one
# cell. The csv module only has one limit for the whole process. Nothing else uses it.
MAX_CELL = 1_000_000  # characters
csv.field_size_limit(MAX_CELL)

# A formula such as ="030 1", which makes a spreadsheet keep the zeros of the text
TEXT_FORMULA = re.compile(r'="((?:[^"]|"")*)"', re.DOTALL)


@contextmanager
def open_text(file: BinaryIO, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Yield a text wrapper around a file, without changing line ends.

    The file itself stays open.
    """
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        yield text
    finally:
        text.detach()


def read_csv(file: BinaryIO, encoding: str, delimiter: str) -> Iterator[Record]:
    """Yield the records of a CSV file, without empty ones.

    Raises `FileRefused` at the first line that is not valid CSV, or not valid text.
    """
    try:
        with open_text(file, encoding) as text:
            yield from parse(text, delimiter)
    except UnicodeError as error:
        # This is not always a UnicodeDecodeError: UTF-16 text without a byte order mark
        # raises a UnicodeError.
        raise FileRefused(find_damage(file, encoding)) from error


def parse(text: io.TextIOWrapper, delimiter: str) -> Iterator[Record]:
    """Yield the records that are not empty. Raises `FileRefused` for invalid CSV."""
    line = 1
    try:
        reader = csv.reader(
            blank_delimiter_line(text), delimiter=delimiter, strict=True
        )
        for cells in reader:
            record = make_record(line, [clean_cell(cell) for cell in cells])
            if record is not None:
                yield record
            # The next record begins here, even if this record has several lines.
            line = reader.line_num + 1
    except csv.Error as error:
        raise FileRefused(describe_error(error, line)) from error


def blank_delimiter_line(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, with an empty one instead of a "sep=" line at the start."""
    for number, line in enumerate(lines):
        is_delimiter_line = number == 0 and DELIMITER_LINE.fullmatch(line)
        yield "\n" if is_delimiter_line else line


def clean_cell(cell: str) -> str:
    """Return the text of a cell, without what was added for spreadsheets."""
    stripped = cell.strip()
    formula = TEXT_FORMULA.fullmatch(stripped)
    if formula is not None:
        return formula[1].replace('""', '"').strip()
    return unescape_formula(stripped)


def describe_error(error: csv.Error, line: int) -> ImportProblem:
    """Translate an error of Python's csv module about a line."""
    if "end of data" in str(error):
        message = _(
            "A quotation mark in this line opens a cell that is never closed. Remove"
            " the mark, or add the second one."
        )
    elif "expected after" in str(error):
        message = _(
            "In this line, text follows a cell in quotation marks. Write quotation"
            " marks inside such a cell twice."
        )
    elif "field limit" in str(error):
        message = _(
            "A cell that begins in this line has more than a million characters. Look"
            " for an unmatched quotation mark."
        )
    else:
        message = _("This line is not valid CSV. Save the file again, as “CSV UTF-8”.")
    return ImportProblem(message, line)


def find_delimiter(
    file: BinaryIO, encoding: str, rate: Callable[[Sequence[Record]], int]
) -> str:
    """Return the delimiter that splits the first lines of a CSV file best.

    A "sep=" line at the start names the delimiter. Otherwise, `rate` returns how well
    records are split. If several delimiters have the same rating, the one with the most
    cells in each line is chosen.
    """
    with open_text(file, encoding) as text:
        try:
            lines = [text.readline(MAX_CELL) for _number in range(SAMPLE_SIZE)]
        except UnicodeError:
            # Reading the records raises the same error, with the line number.
            return DELIMITERS[0]
    named = DELIMITER_LINE.fullmatch(lines[0])
    if named is not None:
        return named[1]
    ratings = {}
    for delimiter in DELIMITERS:
        records = parse_sample(lines, delimiter)
        ratings[delimiter] = (rate(records), count_usual_cells(records))
    return max(DELIMITERS, key=lambda delimiter: ratings[delimiter])


def parse_sample(lines: Sequence[str], delimiter: str) -> list[Record]:
    """Return the records in the first lines of a file. The last one may be cut off."""
    records = []
    try:
        reader = csv.reader(blank_delimiter_line(lines), delimiter=delimiter)
        for number, cells in enumerate(reader, start=1):
            record = make_record(number, [clean_cell(cell) for cell in cells])
            if record is not None:
                records.append(record)
    except csv.Error:
        # Reading the whole file raises the same error, with the line number.
        pass
    return records


def count_usual_cells(records: Sequence[Record]) -> int:
    """Return the number of cells that more than half of the records have, or 0."""
    counts = [len(record.cells) for record in records]
    usual = max(counts, key=counts.count, default=0)
    return usual if counts.count(usual) > len(counts) / 2 else 0
