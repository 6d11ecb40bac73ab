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
from orgadmin.records.imports.file_records import SAMPLE, Record, make_record
from orgadmin.records.imports.problems import FileRefused, ImportProblem
from orgadmin.records.imports.text_encoding import find_damage

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?[\r\n]*", re.IGNORECASE)

# The csv module has one limit for the whole process, and no other use here. Without
# it, an unmatched quotation mark would turn the rest of a file into one cell.
MAX_CELL = 1_000_000  # characters
csv.field_size_limit(MAX_CELL)

# A spreadsheet shows the text in such a cell, and keeps its zeros: ="030 1"
TEXT_FORMULA = re.compile(r'="((?:[^"]|"")*)"', re.DOTALL)


@contextmanager
def open_text(file: BinaryIO, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Yield the text of a file, with its line ends. The file stays open."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        yield text
    finally:
        text.detach()


def read_csv(file: BinaryIO, encoding: str, delimiter: str) -> Iterator[Record]:
    """Yield the records of a CSV file that are not empty.

    Raises `FileRefused` at the first line that is not valid CSV, or not valid text.
    """
    try:
        with open_text(file, encoding) as text:
            yield from parse(text, delimiter)
    except UnicodeError as error:
        # UTF-16 without the mark that it begins with is no UnicodeDecodeError.
        raise FileRefused(find_damage(file, encoding)) from error


def parse(text: io.TextIOWrapper, delimiter: str) -> Iterator[Record]:
    line = 1
    try:
        reader = csv.reader(
            blank_delimiter_line(text), delimiter=delimiter, strict=True
        )
        for cells in reader:
            record = make_record(line, [clean_cell(cell) for cell in cells])
            if record is not None:
                yield record
            # The next record begins here, even if this one spans several lines.
            line = reader.line_num + 1
    except csv.Error as error:
        raise FileRefused(describe_error(error, line)) from error


def blank_delimiter_line(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, with an empty one instead of a "sep=" line at the start."""
    for number, line in enumerate(lines):
        is_delimiter_line = number == 0 and DELIMITER_LINE.fullmatch(line)
        yield "\n" if is_delimiter_line else line


def clean_cell(cell: str) -> str:
    """Return the text that a cell stands for."""
    stripped = cell.strip()
    formula = TEXT_FORMULA.fullmatch(stripped)
    if formula is not None:
        return formula[1].replace('""', '"').strip()
    return unescape_formula(stripped)


def describe_error(error: csv.Error, line: int) -> ImportProblem:
    """Return a problem for what Python's csv module says about a line."""
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

    A "sep=" line decides. Otherwise, `rate` says how well records are split, and equal
    ones are told apart by how many cells the lines have.
    """
    with open_text(file, encoding) as text:
        try:
            lines = [text.readline(MAX_CELL) for _number in range(SAMPLE)]
        except UnicodeError:
            # Reading the records finds the same error, with the number of its line.
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
        # Reading the whole file finds the same error, and says where it is.
        pass
    return records


def count_usual_cells(records: Sequence[Record]) -> int:
    """Return the number of cells that most records have, or 0 if they all differ."""
    counts = [len(record.cells) for record in records]
    usual = max(counts, key=counts.count, default=0)
    return usual if counts.count(usual) > len(counts) / 2 else 0
