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
import json
import resource
import sys
from collections.abc import Sequence

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
MAX_TEXT = 200_000_000  # characters that are printed
MAX_EXACT = 1e15  # larger whole numbers are not exact in a spreadsheet

# What the process says with its exit status
PASSWORD = 3
DAMAGED = 4
NO_SUCH_SHEET = 5
TOO_LARGE = 6


def read(sheet: str, max_rows: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return print_sheet(sheet, max_rows)
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


def print_sheet(chosen: str, max_rows: int) -> int:
    """Print a sheet. Returns the exit status of the process."""
    workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
    names = list(workbook.sheet_names)
    name = choose_sheet(workbook, names, chosen)
    print(json.dumps({"sheets": names, "sheet": name}))
    if not name:
        return NO_SUCH_SHEET
    rows = 0
    text = 0
    # Rows before the first one with text are among these, and so are empty ones.
    rows_of_sheet = workbook.get_sheet_by_name(name).iter_rows()
    for number, row in enumerate(rows_of_sheet, start=1):
        cells = [write_cell(value) for value in row]
        if not any(cells):
            continue
        rows += 1
        if rows > max_rows:
            continue
        line = json.dumps([number, *cells])
        text += len(line)
        if text > MAX_TEXT:
            return TOO_LARGE
        print(line)
    print(rows)
    return 0


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
    sys.exit(read(sys.argv[1], int(sys.argv[2])))
