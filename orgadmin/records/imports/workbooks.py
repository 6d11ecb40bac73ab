"""Reading the sheets of workbooks: .xlsx, .xls and .ods files."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, cast
from zipfile import ZipFile, is_zipfile

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from orgadmin.records.imports import workbook_reader
from orgadmin.records.imports.file_kinds import (
    UNREADABLE,
    describe_damage,
    describe_password,
)
from orgadmin.records.imports.file_records import Record, make_record
from orgadmin.records.imports.problems import FileRefused, ImportProblem, printable

logger = logging.getLogger(__name__)

READER = Path(workbook_reader.__file__)

# The maximum size of an unpacked workbook. A workbook with 100,000 rows has about 100
# MB.
MAX_UNPACKED = 500_000_000  # bytes

# A workbook consists of a few files, and one for each sheet and picture.
MAX_FILES = 5_000

# The only environment variables that the reader gets. Others can contain secrets.
ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH")

# The exit status of Python after an uncaught exception
FAILED = 1

# The last line contains the number of rows, which is shorter than this.
MAX_LAST_LINE = 30  # bytes

# Usually, the reader ends earlier, because its CPU time is limited.
MAX_WAIT = 2 * workbook_reader.MAX_SECONDS


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook, and the names of all sheets."""

    name: str
    names: Sequence[str]
    records: Iterator[Record]  # rows that are not empty; can be read once
    rows: int  # the number of rows that are not empty, which may be more than `records`


def read_workbook(
    file: BinaryIO, chosen: str, *, max_rows: int, max_text: int
) -> Sheet:
    """Return a sheet of a workbook.

    `chosen` is the name or number of the sheet. If it is empty, reads the first visible
    sheet with text. Reads at most `max_rows` rows that are not empty, and only counts
    the others.

    Raises `FileRefused` if there is no such sheet, if the workbook is damaged or has a
    password, or if it is too large, for example because it has more than `max_text`
    characters.
    """
    check_archive(file)
    # The text of a large sheet would need too much memory.
    output = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    with tempfile.TemporaryFile() as copy:
        # The reader needs a file that the operating system can seek in.
        file.seek(0)
        copyfileobj(file, copy)
        copy.seek(0)
        status = run_reader(copy, output, chosen, max_rows, max_text)
    output.seek(0)
    names: list[str] = []
    name = ""
    first_line = output.readline()
    if first_line:
        overview = json.loads(first_line)
        names = overview["sheets"]
        name = overview["sheet"] or ""
    if status != 0:
        output.close()
        raise FileRefused(describe_failure(status, chosen, names))
    rows = int(read_last_line(output))
    return Sheet(name, names, read_records(output, len(first_line)), rows)


def read_last_line(file: BinaryIO) -> bytes:
    """Return the last line of the reader's output, which is a number."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - MAX_LAST_LINE, 0))
    return file.read().splitlines()[-1]


def run_reader(
    file: BinaryIO, output: BinaryIO, chosen: str, max_rows: int, max_text: int
) -> int:
    """Run the reader, which prints to a file. Returns its exit status."""
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    limits = [str(max_rows), str(min(max_text, workbook_reader.MAX_TEXT))]
    command = [sys.executable, "-I", str(READER), chosen, *limits]
    try:
        # The name of the sheet is safe as an argument, because there is no shell.
        done = subprocess.run(
            command,
            stdin=file,
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=MAX_WAIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return workbook_reader.TOO_LARGE
    except ValueError:
        # The chosen name contains a NUL character. No sheet has such a name.
        return workbook_reader.NO_SUCH_SHEET
    if done.returncode == FAILED:
        # Only the last line is logged, up to the colon. It contains the class of the
        # error. Everything else may contain text from the file.
        error = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        logger.error("The reader of workbooks failed: %s", error.partition(":")[0])
        return workbook_reader.DAMAGED
    return done.returncode


def read_records(file: BinaryIO, start: int) -> Iterator[Record]:
    """Yield the records between the first and the last line of the reader's output.

    Closes the file at the end.
    """
    with file:
        file.seek(start)
        for line in file:
            row = json.loads(line)
            if not isinstance(row, list):
                return
            number, *cells = row
            record = make_record(number, cells)
            if record is not None:
                yield record


def check_archive(file: BinaryIO) -> None:
    """Raise `FileRefused` if a workbook declares too many files or bytes.

    The declared numbers can be wrong, so the reader also has limits.
    """
    if not is_zipfile(file):
        return
    try:
        with ZipFile(file) as archive:
            entries = archive.infolist()
    except UNREADABLE as error:
        raise FileRefused(describe_damage()) from error
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES:
        message = _(
            "This workbook consists of %(files)s files, and at most %(limit)s can be"
            " read. Copy the table to a new workbook, or save it as “CSV UTF-8”."
        )
        values = {
            "files": number_format(len(entries), force_grouping=True),
            "limit": number_format(MAX_FILES, force_grouping=True),
        }
        raise FileRefused(ImportProblem(message % values))
    if size > MAX_UNPACKED:
        message = _(
            "Unpacked, this workbook has %(size)s MB, and at most %(limit)s MB can be"
            " read. Copy the table to a new workbook, or save it as “CSV UTF-8”."
        )
        values = {
            "size": number_format(size // 1_000_000, force_grouping=True),
            "limit": number_format(MAX_UNPACKED // 1_000_000),
        }
        raise FileRefused(ImportProblem(message % values))


def describe_failure(status: int, chosen: str, names: Sequence[str]) -> ImportProblem:
    if status == workbook_reader.PASSWORD:
        return describe_password()
    if status == workbook_reader.DAMAGED:
        return describe_damage()
    if status == workbook_reader.NO_SUCH_SHEET:
        message = _(
            "This workbook has no sheet “%(sheet)s”. Its sheets are: %(names)s."
        )
        values = {
            "sheet": printable(chosen),
            "names": ", ".join(printable(name) for name in names) or "-",
        }
        return ImportProblem(message % values)
    # The reader was ended because it needed too much memory or time.
    return ImportProblem(
        _(
            "This sheet is too large to be read: a cell far away from the others may be"
            " the reason. Copy the table to a new workbook, or save it as “CSV UTF-8”."
        )
    )
