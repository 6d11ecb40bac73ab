"""Read a file of environment variables, such as /etc/orgadmin.env.

The file is parsed and never executed. Its format is a subset of the format of systemd's
EnvironmentFile: systemd reads every file that this module accepts in the same way.
Outside single quotes, $, ` and \\ are refused, because shells and systemd treat them
differently. Between double quotes, they can be escaped. This module only needs the
standard library, so scripts can use it as well.

    # A comment on a line of its own. It can also begin with ";".
    NAME=a value without quotes; backslashes, quotes, $ and ` are not allowed here
    NAME='any character except a single quote'
    NAME="any character; write \\" \\\\ \\$ and \\` with a backslash"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ESCAPE = re.compile(r"\\(.)", re.DOTALL)

# The characters that can be escaped between double quotes.
ESCAPABLE = '"\\$`'

QUOTES = {
    "'": re.compile(r"'([^']*)'"),
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
}
# The characters that shells interpret between double quotes, unless they are escaped.
REPLACED_BY_SHELLS = re.compile(r"(?<!\\)(?:\\\\)*[$`]")

# Control characters, except tabs and line breaks, which quoted values can contain.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class EnvFileError(Exception):
    """A line of a file is wrong. The message says why, and what to write instead."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class Variable:
    value: str
    line: int  # the number of the line where the variable begins, counted from 1


def read_env_file(path: Path) -> dict[str, Variable]:
    """Return the variables of a file. Raises `EnvFileError`, or OSError."""
    return parse_env_file(path.read_bytes())


def parse_env_file(content: bytes) -> dict[str, Variable]:
    """Return {name: Variable}. Raises `EnvFileError` for the first wrong line."""
    text = decode(content)
    variables: dict[str, Variable] = {}
    position = 0
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        end = find_line_end(text, position)
        content_of_line = text[position:end].strip(" \t")
        if not content_of_line or content_of_line[0] in "#;":
            check_comment(content_of_line, line)
            position = end + 1
            continue
        name, start = parse_name(text, position, end, line)
        if name in variables:
            earlier = variables[name].line
            raise EnvFileError(
                line, f"{name} is already set in line {earlier}. Remove one of them."
            )
        value, end = parse_value(text, start, line, name)
        variables[name] = Variable(value, line)
        position = end + 1
    return variables


def decode(content: bytes) -> str:
    """Return the text of a file.

    Raises `EnvFileError` if it is not UTF-8, or contains a control character.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EnvFileError(line, "the text is not UTF-8.") from None
    found = CONTROL_CHARACTER.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        if found[0] == "\r":
            problem = "this is a Windows line ending. Save the file with Unix ones."
        else:
            problem = f"there is a control character (code {ord(found[0])})."
        raise EnvFileError(line, problem)
    return text


def find_line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end == -1 else end


def check_comment(comment: str, line: int) -> None:
    """Refuse a backslash at the end, because systemd would also skip the next line."""
    if comment.endswith("\\"):
        raise EnvFileError(line, "a comment must not end with a backslash.")


def parse_name(text: str, position: int, end: int, line: int) -> tuple[str, int]:
    """Return the name in a line, and the position after the equals sign."""
    name, separator, _rest = text[position:end].partition("=")
    if not separator or not NAME.fullmatch(name):
        raise EnvFileError(
            line,
            "expected NAME=VALUE, without spaces before the name and around the equals"
            " sign, and without “export”.",
        )
    return name, position + len(name) + 1


def parse_value(text: str, start: int, line: int, name: str) -> tuple[str, int]:
    """Return the value that starts at a position, and the position where its line ends.

    Error messages do not contain the value, because it may be a secret.
    """
    quote = text[start : start + 1]
    if quote not in QUOTES:
        end = find_line_end(text, start)
        return parse_plain_value(text[start:end], line, name), end
    found = QUOTES[quote].match(text, start)
    if not found:
        raise EnvFileError(line, f"the quote around {name}'s value is not closed.")
    end = find_line_end(text, found.end())
    if text[found.end() : end].strip(" \t"):
        raise EnvFileError(
            line,
            f"{name}'s value continues after the closing quote. Put one pair of quotes"
            " around the whole value. Comments need lines of their own.",
        )
    if quote == "'":
        return found[1], end
    return unescape(found[1], line, name), end


def parse_plain_value(text: str, line: int, name: str) -> str:
    """Return a value without quotes, without the spaces at its end."""
    value = text.rstrip(" \t")
    if value != value.lstrip(" \t"):
        raise EnvFileError(
            line, f"remove the space before {name}'s value, or put quotes around both."
        )
    if re.search(r"[\\'\"$`]|[ \t]#", value):
        raise EnvFileError(
            line,
            f"{name}'s value has a quote, a backslash, a dollar sign, a backtick, or"
            " “#” after a space. Put single quotes around the value.",
        )
    return value


def unescape(text: str, line: int, name: str) -> str:
    """Return the text between double quotes without the backslashes that escape."""
    if REPLACED_BY_SHELLS.search(text):
        raise EnvFileError(
            line,
            f"{name}'s value has a dollar sign or a backtick. Put single quotes around"
            " the value, or a backslash before the character.",
        )
    for escape in ESCAPE.finditer(text):
        if escape[1] not in ESCAPABLE:
            raise EnvFileError(
                line,
                f"{name}'s value has a backslash. Put single quotes around the value,"
                " or write two backslashes.",
            )
    return ESCAPE.sub(r"\1", text)
