"""Cleaning the cells of a record in the same way as the form.

The fields of the model clean the values: see `models/fields.py`, and
`models/phone_numbers.py` for phone numbers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field as dataclass_field
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _

from orgadmin.access.roles import Role
from orgadmin.models import Organization
from orgadmin.models.addresses import fold_email
from orgadmin.models.fields import LineEmailField
from orgadmin.people.ends import UnusableDay, find_end_of_day
from orgadmin.records.columns import ID_COLUMNS, ROLE_COLUMNS, UNTIL
from orgadmin.records.id_keys import is_id_key
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import Header
from orgadmin.records.imports.problems import ImportProblem, RowRefused
from orgadmin.records.imports.suspicions import (
    ImportWarning,
    find_suspicions,
    split_emails,
)

ID = "[1-9][0-9]{0,17}"  # so that the number fits into 64 bits
DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
EMAIL_FIELD = LineEmailField()

# {column that identifies an organization: its name in messages}
KEY_LABELS = {"id": "ID", "reference": "reference"}


@dataclass(frozen=True)
class NamedPerson:
    """An email address in a cell, and the role that the person should get."""

    column: str  # as in ROLE_COLUMNS
    role: Role
    email: str  # in its normal form
    ends_at: datetime | None = None  # None keeps the current end of the membership


@dataclass(frozen=True)
class ImportRow:
    """A record whose cells are valid. It has not been compared with the database."""

    line: int
    pk: int | None  # None if there is no "id" column, or if the cell is empty
    # {field of Organization: value} for the cells that are imported: cells with text,
    # and empty cells of fields that the import may clear.
    values: dict[str, Any]
    people: list[NamedPerson]
    # Warnings about cells. Later steps remove warnings about cells that change nothing.
    warnings: list[ImportWarning] = dataclass_field(default_factory=list)

    @property
    def reference(self) -> str | None:
        return self.values.get("reference")

    @property
    def has_key(self) -> bool:
        return self.pk is not None or self.reference is not None


class InvalidCell(Exception):
    def __init__(self, message: str, value: str) -> None:
        super().__init__(message, value)
        self.message = message
        self.value = value


class RecordCleaner:
    """Turns the records of a file into rows. A subclass knows the columns."""

    def __init__(self, header: Header) -> None:
        self.header = header

    def get_cell(self, record: Record, name: str) -> str:
        """Return the cell of a column, or an empty text if there is no such column."""
        position = self.header.positions.get(name)
        return "" if position is None else record.cells[position]

    def check_number_of_cells(self, record: Record) -> None:
        """Raise `RowRefused` if a record does not fit the header."""
        cells = len(record.cells)
        columns = len(self.header.titles)
        # Empty cells at the end are allowed, because some programs end each line with
        # separators, and workbooks have cells without a title.
        extra_cells = record.cells[columns:]
        if cells < columns or any(extra_cells):
            message = _(
                "The header and this line have different numbers of cells:"
                " %(columns)d and %(cells)d. Look for a missing or extra separator."
            ) % {"cells": cells, "columns": columns}
            raise RowRefused(ImportProblem(message, record.line))

    def clean_id(self, record: Record) -> int | None:
        """Return the ID in a record, or None if there is none.

        Raises `InvalidCell` if the cell does not contain an ID, or if the ID key in the
        record does not belong to the ID.
        """
        position = self.header.positions.get("id")
        if position is None or not record.cells[position]:
            return None
        cell = record.cells[position]
        if not re.fullmatch(ID, cell):
            raise InvalidCell(self.explain_no_id(), cell)
        pk = int(cell)
        key = record.cells[self.header.positions["id_key"]]
        if not is_id_key(pk, key):
            raise InvalidCell(self.explain_wrong_key(), cell)
        return pk

    def explain_no_id(self) -> str:
        return _("This is not an ID. Leave the cell empty to create an organization.")

    def explain_wrong_key(self) -> str:
        return _(
            "This ID does not belong to the “id_key” in its line. Export the"
            " organizations again, or empty both cells to create an organization."
        )

    def find_warnings(
        self, record: Record, name: str, cell: str
    ) -> list[ImportWarning]:
        """Return the warnings about a cell in the column of the field `name`."""
        warnings = []
        for suspicion in find_suspicions(name, cell):
            warning = ImportWarning(
                suspicion,
                record.line,
                column=self.header.find_title(name),
                value=cell,
                field=name,
            )
            warnings.append(warning)
        return warnings

    def make_problem(
        self, error: InvalidCell, record: Record, name: str
    ) -> ImportProblem:
        title = self.header.find_title(name)
        return ImportProblem(error.message, record.line, title, error.value)


class RowCleaner(RecordCleaner):
    """Turns the records of a file of organizations into rows.

    Rejects rows that have the same key as an earlier row.
    """

    def __init__(self, header: Header, clear_blank: Collection[str] = ()) -> None:
        super().__init__(header)
        self.clear_blank = frozenset(clear_blank)
        # {column: {key: first line that contains the key}}
        self.lines_by_key: dict[str, dict[int | str, int]] = {"id": {}, "reference": {}}

    def clean(self, record: Record) -> ImportRow:
        """Return the row of a record.

        Raises `RowRefused` with all problems of the record, or with a single problem if
        the record does not have as many cells as the header.
        """
        self.check_number_of_cells(record)
        values: dict[str, Any] = {}
        members: dict[str, dict[str, datetime | None]] = {}
        warnings: list[ImportWarning] = []
        problems = []
        for name, cell in self._list_cells(record):
            try:
                if name in ROLE_COLUMNS:
                    members[name] = clean_members(cell)
                    continue
                values |= self._clean_value(name, cell)
                warnings += self.find_warnings(record, name, cell)
            except InvalidCell as error:
                problems.append(self.make_problem(error, record, name))
        pk = None
        try:
            pk = self.clean_id(record)
        except InvalidCell as error:
            problems.append(self.make_problem(error, record, "id"))
        row = ImportRow(
            line=record.line,
            pk=pk,
            values=values,
            people=list_people(members),
            warnings=warnings,
        )
        problems += self._find_missing_name(row, record)
        problems += self._find_repetition(row)
        if problems:
            raise RowRefused(*problems)
        return row

    def _list_cells(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield (field, cell), without the ID and its key."""
        for name, position in self.header.positions.items():
            if name not in ID_COLUMNS:
                yield name, record.cells[position]
        if self.header.address_parts:
            yield "address", self._join_address(record)

    def _join_address(self, record: Record) -> str:
        """Join the parts of an address in a record. Returns "" if all are empty."""
        parts = defaultdict(str)
        for part, position in self.header.address_parts.items():
            parts[part] = record.cells[position]
        town = f"{parts['postal_code']} {parts['city']}".strip()
        lines = [parts["street"], town, parts["region"], parts["country"]]
        return "\n".join(line for line in lines if line)

    def _clean_value(self, name: str, cell: str) -> dict[str, Any]:
        """Return {field: value} for a cell, or {} if the cell changes nothing."""
        if name == "email":
            cell = next(iter(split_emails(cell)), cell)
        value = clean_value(name, cell)
        if not value and name not in self.clear_blank:
            return {}
        return {name: value}

    def _find_repetition(self, row: ImportRow) -> list[ImportProblem]:
        """Return a problem if the row repeats a person, or has another row's key.

        If the row repeats a person, its keys are not recorded.
        """
        problem = find_double_role(row)
        if problem is None:
            problem = self._record_keys(row)
        return [] if problem is None else [problem]

    def _find_missing_name(self, row: ImportRow, record: Record) -> list[ImportProblem]:
        """Return a problem if a row has neither a key nor a name."""
        if row.has_key or record.cells[self.header.positions["name"]]:
            return []
        return [describe_blank_name(self.header, row.line)]

    def _record_keys(self, row: ImportRow) -> ImportProblem | None:
        """Record the keys of a row.

        Returns a problem if an earlier row has one of them, and otherwise None.
        """
        keys = {"id": row.pk, "reference": row.reference}
        for column, key in keys.items():
            if key is None:
                continue
            first_line = self.lines_by_key[column].setdefault(key, row.line)
            if first_line != row.line:
                message = _(
                    "Line %(line)d already has this %(key)s. Keep only one of them."
                ) % {"line": first_line, "key": KEY_LABELS[column]}
                title = self.header.find_title(column)
                return ImportProblem(message, row.line, title, str(key))
        return None


def describe_blank_name(header: Header, line: int) -> ImportProblem:
    """Return the problem that a row would create an organization without a name."""
    message = str(Organization._meta.get_field("name").error_messages["blank"])
    return ImportProblem(message, line, header.find_title("name"))


def clean_members(cell: str) -> dict[str, datetime | None]:
    """Return {email address: end of the membership} for the people in a cell.

    An address can be followed by the last day of access, as in "mary@example.com until
    2026-12-31". Otherwise, the end is None. Raises `InvalidCell`.
    """
    ends: dict[str, datetime | None] = {}
    email = None  # the address to which a last day would belong
    words = iter(re.split(r"[\s;,]+", cell))
    for word in words:
        if word.lower() == UNTIL:
            day = next(words, "")
            if email is None or not day:
                raise InvalidCell(explain_until(), cell)
            ends[email] = choose_end(ends[email], clean_last_day(day), day)
            email = None
        elif word:
            email = fold_email(clean_field(EMAIL_FIELD, word, word))
            ends.setdefault(email, None)
    return ends


def explain_until() -> str:
    return _(
        "Write “until” between an email address and a day, as in"
        " “mary@example.com until 2026-12-31”."
    )


def choose_end(first: datetime | None, second: datetime, day: str) -> datetime:
    """Return the second of two ends for one person in the same cell.

    Raises `InvalidCell` if the first end is another day.
    """
    if first is not None and first != second:
        message = _("This person already has another last day here. Keep only one.")
        raise InvalidCell(message, day)
    return second


def clean_last_day(text: str) -> datetime:
    """Return the time at which a last day ends. Raises `InvalidCell`."""
    try:
        if not re.fullmatch(DAY, text):
            raise ValueError(text)
        return find_end_of_day(date.fromisoformat(text))
    except UnusableDay as error:
        raise InvalidCell(str(error), text) from error
    except ValueError as error:
        message = _(
            "This is not a date. Write the year, month and day, as in 2026-12-31."
        )
        raise InvalidCell(message, text) from error


def clean_value(name: str, cell: str) -> Any:
    """Return the value of a field of Organization. Raises `InvalidCell`.

    The value of an empty cell is None if the field can be NULL, or else an empty
    string.
    """
    field: Any = Organization._meta.get_field(name)
    text = complete_url(cell) if name == "website" else cell
    value = clean_field(field, text, cell) if cell else ""
    if value:
        return value
    return None if field.null else ""


def complete_url(cell: str) -> str:
    """Add a scheme to a URL that has none, as the form does."""
    if cell and "://" not in cell:
        return f"https://{cell}"
    return cell


def clean_field(field: models.Field, text: str, cell: str) -> Any:
    """Return the text as cleaned by a model field.

    Raises `InvalidCell`, which quotes `cell`. This is what the file contains, which can
    differ from `text`: for a URL without a scheme, `text` has a scheme.
    """
    try:
        return field.clean(text, None)
    except ValidationError as error:
        raise InvalidCell(" ".join(error.messages), cell) from error


def list_people(
    members: Mapping[str, Mapping[str, datetime | None]],
) -> list[NamedPerson]:
    """Return the people in the cells of a row, grouped by role.

    `members` is {column: {email address: end of the membership}}.
    """
    people = []
    for column, role in ROLE_COLUMNS.items():
        for email, ends_at in members.get(column, {}).items():
            people.append(NamedPerson(column, role, email, ends_at))
    return people


def find_double_role(row: ImportRow) -> ImportProblem | None:
    """Return the problem of a row that gives a person two roles, or None."""
    counts = Counter(person.email for person in row.people)
    for email, count in counts.items():
        if count > 1:
            message = _("This person would get two roles here. Keep only one of them.")
            return ImportProblem(message, row.line, value=email)
    return None
