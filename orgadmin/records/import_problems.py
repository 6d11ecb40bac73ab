"""What is wrong with a file, and the exceptions that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

MAX_SHOWN = 60  # characters of a value that a message repeats


@dataclass(frozen=True)
class ImportProblem:
    """Why a line, or the whole file, cannot be imported.

    As text: "line 3, column “email”, “nobody”: Enter a valid email address."
    """

    message: str
    line: int | None = None  # counted from 1, the header; None: the whole file
    column: str = ""  # the title of the column, as in the file
    value: str = ""

    def __str__(self) -> str:
        parts = []
        if self.line is not None:
            parts.append(_("line %d") % self.line)
        if self.column:
            parts.append(_("column “%s”") % printable(self.column))
        if self.value:
            parts.append(f"“{printable(self.value)}”")
        if not parts:
            return self.message
        place = ", ".join(parts)
        return f"{place}: {self.message}"


class ImportRefused(Exception):
    """The import was refused and nothing was changed.

    `problems` are all that were found, in the order of their lines.
    """

    def __init__(self, problems: Sequence[ImportProblem]) -> None:
        super().__init__(problems)
        self.problems = problems


class FileRefused(Exception):
    """The file cannot be imported, or it cannot be read beyond some line."""

    def __init__(self, problem: ImportProblem) -> None:
        super().__init__(problem)
        self.problem = problem


class RowRefused(Exception):
    """A row cannot be imported. The rows after it are still checked."""

    def __init__(self, *problems: ImportProblem) -> None:
        super().__init__(*problems)
        self.problems = problems


def printable(text: str) -> str:
    """Return text as a terminal can show it.

    It is cut after MAX_SHOWN characters, and unprintable characters are escaped.
    """
    shown = []
    for character in text[:MAX_SHOWN]:
        if not character.isprintable():
            # "\x1b", without the quotation marks of repr()
            character = repr(character)[1:-1]
        shown.append(character)
    if len(text) > MAX_SHOWN:
        shown.append("…")
    return "".join(shown)
