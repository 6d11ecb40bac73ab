"""Reads a workbook in a process of its own, and prints its rows as lines of JSON.

`workbooks.py` starts this file as a program. A workbook of two kilobytes can make the
library ask for hundreds of gigabytes, and end the process that reads it. So that
process has a limit of memory and time, and nothing else to do. It imports nothing of
the site.

The first line that it prints is an object: {"sheets": the names of all sheets, "sheet":
the one that follows}. Each further line is a list: the number of a row that is not
empty, and its cells as text. The last line is the number of such rows, which may be
larger than the number of lines.
"""

import datetime
import html
import json
import re
import resource
import sys
from collections.abc import Sequence
from zipfile import BadZipFile, ZipFile

from python_calamine import (
    CalamineError,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
    WorksheetNotFound,
)

MAX_MEMORY = 1_500_000_000  # bytes of addresses, of which most are never used
MAX_SECONDS = 60
MAX_TEXT = 200_000_000  # characters that are printed, at most
MAX_EXACT = 1e15  # larger whole numbers are not exact in a spreadsheet

# The parts of an .xlsx file that say in which cells a formula has failed
SHEET = re.compile(rb"<(?:\w+:)?sheet\b[^>]*>")
RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
ATTRIBUTE = re.compile(rb'([\w:]+)="([^"]*)"')
ERROR_CELL = re.compile(
    rb'<(?:\w+:)?c\b([^>]*\bt="e"[^>]*)>(.{1,10000}?)</(?:\w+:)?c>', re.DOTALL
)
CELL_PLACE = re.compile(rb'\br="([A-Z]{1,3})(\d{1,7})"')
CELL_VALUE = re.compile(rb"<(?:\w+:)?v>([^<]{1,20})<")

# What the process says with its exit status
PASSWORD = 3
DAMAGED = 4
NO_SUCH_SHEET = 5
TOO_LARGE = 6


def read(sheet: str, max_rows: int, max_text: int) -> int:
    """Print a sheet of the workbook, within the limits, and return the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return print_sheet(sheet, max_rows, max_text)
    except PasswordError:
        return PASSWORD
    except WorksheetNotFound:
        return NO_SUCH_SHEET
    except MemoryError:
        return TOO_LARGE
    except (CalamineError, OSError, ValueError):
        return DAMAGED
    except BaseException as error:
        # A panic of the library is derived from BaseException.
        if type(error).__name__ == "PanicException":
            return DAMAGED
        raise


def print_sheet(chosen: str, max_rows: int, max_text: int) -> int:
    """Print a sheet. Returns the exit status of the process."""
    workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
    names = list(workbook.sheet_names)
    name = choose_sheet(workbook, names, chosen)
    print(json.dumps({"sheets": names, "sheet": name}))
    if not name:
        return NO_SUCH_SHEET
    rows = 0
    text = 0
    sheet = workbook.get_sheet_by_name(name)
    errors = find_errors(name)
    first_column = sheet.start[1] if sheet.start is not None else 0
    # Rows before the first one with text are among these, and so are empty ones.
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [write_cell(value) for value in row]
        for column, error in errors.get(number, {}).items():
            if 0 <= column - first_column < len(cells):
                cells[column - first_column] = error
        if not any(cells):
            continue
        rows += 1
        if rows > max_rows:
            continue
        line = json.dumps([number, *cells])
        text += len(line)
        if text > max_text:
            return TOO_LARGE
        print(line)
    print(rows)
    return 0


def find_errors(name: str) -> dict[int, dict[int, str]]:
    """Return {row: {index of the column: error}} of an .xlsx file, such as "#N/A".

    The library reads such cells as if they were empty. Rows are counted from 1.
    """
    errors: dict[int, dict[int, str]] = {}
    try:
        content = read_sheet_xml(name)
    except (BadZipFile, KeyError, OSError, ValueError):
        # In another format, or written in a way that is not expected here.
        return errors
    for match in ERROR_CELL.finditer(content):
        place = CELL_PLACE.search(match[1])
        value = CELL_VALUE.search(match[2])
        if place is not None and value is not None:
            row = errors.setdefault(int(place[2]), {})
            row[find_column_index(place[1])] = value[1].decode("utf-8", "replace")
    return errors


def read_sheet_xml(name: str) -> bytes:
    """Return the XML of a sheet of an .xlsx file. Raises `KeyError` and others."""
    sys.stdin.buffer.seek(0)
    with ZipFile(sys.stdin.buffer) as archive:
        for sheet in SHEET.findall(archive.read("xl/workbook.xml")):
            attributes = dict(ATTRIBUTE.findall(sheet))
            if html.unescape(attributes[b"name"].decode()) == name:
                break
        else:
            raise KeyError(name)
        relation_id = attributes[b"r:id"]
        relations = archive.read("xl/_rels/workbook.xml.rels")
        for relation in RELATION.findall(relations):
            attributes = dict(ATTRIBUTE.findall(relation))
            if attributes[b"Id"] == relation_id:
                target = attributes[b"Target"].decode().removeprefix("/xl/")
                return archive.read(f"xl/{target}")
    raise KeyError(name)


def find_column_index(letters: bytes) -> int:
    """Return 0 for column A, 26 for column AA, and so on."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number - 1


def choose_sheet(
    workbook: CalamineWorkbook, names: Sequence[str], chosen: str
) -> str | None:
    """Return the name of the chosen sheet, or None if there is none.

    It is chosen by its name or its number. Otherwise, it is the first one that people
    see and that has text.
    """
    if chosen:
        for name in names:
            if name.casefold() == chosen.casefold():
                return name
        if chosen.isdecimal() and 0 < int(chosen) <= len(names):
            return names[int(chosen) - 1]
        return None
    visible = []
    for sheet in workbook.sheets_metadata:
        is_shown = sheet.visible == SheetVisibleEnum.Visible
        if is_shown and sheet.typ == SheetTypeEnum.WorkSheet:
            visible.append(sheet.name)
    for name in visible:
        if workbook.get_sheet_by_name(name).start is not None:
            return name
    return next(iter(visible or names), None)


def write_cell(value: object) -> str:
    """Return the value of a cell as text, as short as a spreadsheet shows it."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT:
        return str(int(value))
    if isinstance(value, datetime.datetime | datetime.date):
        return str(value) if has_time(value) else str(value)[:10]
    return str(value)


def has_time(value: datetime.date) -> bool:
    return isinstance(value, datetime.datetime) and value.time() != datetime.time()


if __name__ == "__main__":
    sys.exit(read(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
