"""Problems that an import finds in a file, and exceptions that contain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from orgadmin.models.text import escape_unprintable

MAX_VALUE_SHOWN = 60  # characters of a value that a message repeats


@dataclass(frozen=True)
class ImportProblem:
    """Why a line, or the whole file, cannot be imported.

    str() returns, for example: "line 3, column “email”, “nobody”: Enter a valid email
    address."
    """

    message: str
    line: int | None = None  # counted from 1; None means the whole file
    column: str = ""  # the title of the column, as in the file
    value: str = ""
    # If the file is about another subject than expected: a key of Import.Subject. Pages
    # link to the import of such files.
    subject: str = ""

    def __str__(self) -> str:
        parts = []
        if self.line is not None:
            parts.append(_("line %d") % self.line)
        if self.column:
            parts.append(_("column “%s”") % printable(self.column))
        if self.value:
            parts.append(_("“%s”") % printable(self.value))
        if not parts:
            return self.message
        place = ", ".join(parts)
        return f"{place}{_(':')} {self.message}"


class ImportRefused(Exception):
    """The import was refused, and nothing was changed.

    `problems` are all problems, sorted by line. `valid_rows` is the number of rows
    without problems, or 0 if it is not known, for example because the file cannot be
    read.
    """

    def __init__(self, problems: Sequence[ImportProblem], valid_rows: int = 0) -> None:
        super().__init__(problems)
        self.problems = problems
        self.valid_rows = valid_rows


class WarningsRefused(ImportRefused):
    """The import was refused because nobody has agreed to its warnings."""


class FileRefused(Exception):
    """The file cannot be imported, or cannot be read beyond a certain line."""

    def __init__(self, problem: ImportProblem) -> None:
        super().__init__(problem)
        self.problem = problem


class RowRefused(Exception):
    """A row cannot be imported. The rows after it are still checked."""

    def __init__(self, *problems: ImportProblem) -> None:
        super().__init__(*problems)
        self.problems = problems


def printable(text: str) -> str:
    """Return the beginning of a text, in a form that is safe on a terminal."""
    shown = escape_unprintable(text[:MAX_VALUE_SHOWN])
    return f"{shown}…" if len(text) > MAX_VALUE_SHOWN else shown
