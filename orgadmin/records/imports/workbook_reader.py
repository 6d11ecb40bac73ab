"""Reads a workbook in a process of its own, and prints its rows as lines of JSON.

`workbooks.py` starts this file as a program. A workbook of two kilobytes can make the
library request hundreds of gigabytes of memory, which ends the process. The workbook is
therefore read in a separate process, with limits of memory and time. This file imports
nothing from the site.

The first line of the output is an object: {"sheets": the names of all sheets, "sheet":
the name of the sheet that was read}. Each of the following lines is a list for a row
that is not empty: its number, and its cells as text. The last line is the number of
such rows, which can be larger than the number of lines.
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

MAX_MEMORY = 1_500_000_000  # bytes of address space; most of it is never used
MAX_SECONDS = 60
MAX_TEXT = 200_000_000  # characters of output
MAX_EXACT = 1e15  # larger whole numbers are not exact in a spreadsheet

# The parts of an .xlsx file that show which formulas have failed
SHEET = re.compile(rb"<(?:\w+:)?sheet\b[^>]*>")
RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
ATTRIBUTE = re.compile(rb'([\w:]+)="([^"]*)"')
ERROR_CELL = re.compile(
    rb'<(?:\w+:)?c\b([^>]*\bt="e"[^>]*)>(.{1,10000}?)</(?:\w+:)?c>', re.DOTALL
)
CELL_PLACE = re.compile(rb'\br="([A-Z]{1,3})(\d{1,7})"')
CELL_VALUE = re.compile(rb"<(?:\w+:)?v>([^<]{1,20})<")

# The exit status of the process, besides 0
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
    # These include empty rows, even before the first row with text.
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
    """Return {row: {index of the column: error such as "#N/A"}} of an .xlsx file.

    The library reads such cells as empty cells. Rows are counted from 1.
    """
    errors: dict[int, dict[int, str]] = {}
    try:
        content = read_sheet_xml(name)
    except (BadZipFile, KeyError, OSError, ValueError):
        # The workbook has another format, or an unexpected structure.
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
    """Return the name of the sheet to read, or None if there is none.

    `chosen` is the name or the number of a sheet. If it is empty, the first visible
    sheet with text is chosen.
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
    """Return the value of a cell as text, without decimals or times that are zero."""
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
