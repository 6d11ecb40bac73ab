"""The base class of our commands, which escapes text that people typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from orgadmin.access.origin import COMMAND, by_means_of
from orgadmin.models.text import escape_unprintable


class EscapedOutput(OutputWrapper):
    """Writes lines, and escapes all unprintable characters in them.

    Otherwise, a name could contain control sequences that move the cursor of a
    terminal, or that hide or reorder text. Line breaks are also escaped, so that a name
    cannot add lines. So each line needs its own call of `write`.
    """

    def write(
        self,
        msg: str = "",
        style_func: Callable[[str], str] | None = None,
        ending: str | None = None,
    ) -> None:
        if ending is None:
            ending = self.ending
        line = escape_unprintable(msg.removesuffix(ending))
        super().write(line, style_func, ending)


class DetailedError(CommandError):
    """An error with `details`, which are lines that are printed before its message."""

    def __init__(
        self, message: str, *, details: Sequence[str], returncode: int
    ) -> None:
        super().__init__(message, returncode=returncode)
        self.details = details


class EscapedCommand(BaseCommand):
    """A command whose output and error messages are escaped.

    All commands of this app use this class, except those that change a command of
    Django. The logs name the command as the author of changes that it makes without
    acting for a person.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stdout = EscapedOutput(self.stdout._out)
        self._replace_errors(self.stderr._out)

    def execute(self, *args: Any, **options: Any) -> str | None:
        # Remove these options, because Django would wrap the streams in its own class.
        stdout = options.pop("stdout", None)
        if stdout is not None:
            self.stdout = EscapedOutput(stdout)
        stderr = options.pop("stderr", None)
        if stderr is not None:
            self._replace_errors(stderr)
        # A command is named after its module.
        name = type(self).__module__.rpartition(".")[2]
        try:
            with by_means_of(f"{COMMAND}{name}"):
                return super().execute(*args, **options)
        except DetailedError as error:
            for line in error.details:
                self.stderr.write(line)
            raise

    def _replace_errors(self, stream: TextIO) -> None:
        style = self.stderr.style_func
        self.stderr = EscapedOutput(stream)
        self.stderr.style_func = style
