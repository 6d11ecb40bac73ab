"""Cleaning the cells of a record that gives a person a role in an organization."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from orgadmin.access.roles import Role
from orgadmin.models.addresses import fold_email
from orgadmin.models.text import remove_invisible
from orgadmin.people.changes import MembershipEnd
from orgadmin.records.imports.cleaning import (
    EMAIL_FIELD,
    InvalidCell,
    RecordCleaner,
    clean_field,
    clean_last_day,
    clean_value,
)
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.people_columns import NO_END, find_role
from orgadmin.records.imports.problems import ImportProblem, RowRefused
from orgadmin.records.imports.suspicions import split_emails

# A day in the German format. Some programs shorten the year.
GERMAN_DAY = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d\d)")
CENTURY = "20"

# A day in the French and British format, or in the American one
SLASHED_DAY = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)")
LAST_MONTH = 12

# The time that spreadsheets add to a day that they store as date and time
MIDNIGHT = re.compile(r"[ T]0?0:00(:00(\.0+)?)?")

# An address with a name, as people copy it from an email program
NAMED_ADDRESS = re.compile(r"[^<>@]*<([^<>\s]+)>")


@dataclass(frozen=True)
class PersonNames:
    """The name of a person in a file. Parts that the file does not have are empty."""

    first: str = ""
    last: str = ""
    full: str = ""

    def __str__(self) -> str:
        return self.full or f"{self.first} {self.last}".strip()


@dataclass(frozen=True)
class OrganizationKey:
    """What identifies the organization of a row."""

    pk: int | None = None
    reference: str | None = None
    name: str = ""


@dataclass(frozen=True)
class PersonRow:
    """A record whose cells are valid. It has not been compared with the database."""

    line: int
    email: str  # in its normal form
    names: PersonNames
    key: OrganizationKey
    role: Role | None  # None: the row does not give a role
    end: MembershipEnd | None  # None keeps the current end of the membership


class PersonCleaner(RecordCleaner):
    """Turns the records of a file of people into rows."""

    def clean(self, record: Record) -> PersonRow:
        """Return the row of a record. Raises `RowRefused` if it has problems."""
        self.check_number_of_cells(record)
        cleaned: dict[str, Any] = {}
        problems = []
        cleaners = {
            "email": clean_email,
            "reference": clean_reference,
            "role": clean_role,
            "until": clean_end,
        }
        for name, clean in cleaners.items():
            try:
                cleaned[name] = clean(self.get_cell(record, name))
            except InvalidCell as error:
                problems.append(self.make_problem(error, record, name))
        pk = None
        try:
            pk = self.clean_id(record)
        except InvalidCell as error:
            problems.append(self.make_problem(error, record, "id"))
        if problems:
            raise RowRefused(*problems)
        row = PersonRow(
            line=record.line,
            email=cleaned["email"],
            names=PersonNames(
                self.get_name(record, "first_name"),
                self.get_name(record, "last_name"),
                self.get_name(record, "full_name"),
            ),
            key=OrganizationKey(
                pk, cleaned["reference"], self.get_name(record, "organization")
            ),
            role=cleaned["role"],
            end=cleaned["until"],
        )
        self._check_complete(row)
        return row

    def get_name(self, record: Record, name: str) -> str:
        return remove_invisible(self.get_cell(record, name))

    def explain_no_id(self) -> str:
        return _(
            "This is not an ID of an organization. Leave the cell empty, and enter the"
            " reference of the organization."
        )

    def explain_wrong_key(self) -> str:
        return _(
            "This ID does not belong to the “organization_id_key” in its line. Export"
            " the people again, or empty both cells and enter the reference of the"
            " organization."
        )

    def _check_complete(self, row: PersonRow) -> None:
        """Raise `RowRefused` if a row has an organization or last day, but no role."""
        if row.role is None and (row.key != OrganizationKey() or row.end is not None):
            message = _("Enter the role: “admin” or “reviewer”.")
            title = self.header.find_title("role")
            raise RowRefused(ImportProblem(message, row.line, title))


def clean_email(cell: str) -> str:
    """Return the address in a cell, which may contain a name and the address.

    Raises `InvalidCell`, including for an empty cell.
    """
    if not cell:
        raise InvalidCell(_("Enter the email address of the person."), cell)
    if len(split_emails(cell)) > 1:
        message = _(
            "The cell contains several addresses. Give each person a line of their own."
        )
        raise InvalidCell(message, cell)
    text = remove_invisible(cell)
    named = NAMED_ADDRESS.fullmatch(text)
    address = named[1] if named is not None else text
    return fold_email(clean_field(EMAIL_FIELD, address.removeprefix("mailto:"), cell))


def clean_reference(cell: str) -> str | None:
    return clean_value("reference", cell)


def clean_role(cell: str) -> Role | None:
    """Return the role that a cell names, or None if it is empty.

    Raises `InvalidCell` for an unknown word.
    """
    if not cell:
        return None
    role = find_role(cell)
    if role is None:
        raise InvalidCell(
            _("There is no such role. Enter “admin” or “reviewer”."), cell
        )
    return role


def clean_end(cell: str) -> MembershipEnd | None:
    """Return the end in a cell, or None if the cell is empty.

    A word such as "none" removes the current end of the membership. Raises
    `InvalidCell` for other words, and for days that have passed.
    """
    text = remove_invisible(cell)
    if not text:
        return None
    if text.casefold() in NO_END:
        return MembershipEnd(None)
    return MembershipEnd(clean_last_day(convert_day(text)))


def convert_day(text: str) -> str:
    """Convert a day in a common format to YYYY-MM-DD. Returns other texts unchanged.

    Raises `InvalidCell` if it is unclear which number is the month.
    """
    time = MIDNIGHT.search(text)
    if time is not None and time.end() == len(text):
        text = text[: time.start()]
    german = GERMAN_DAY.fullmatch(text)
    slashed = SLASHED_DAY.fullmatch(text)
    if german is not None:
        return join_day(year=german[3], month=german[2], day=german[1])
    if slashed is not None:
        first = slashed[1]
        second = slashed[2]
        year = slashed[3]
        if int(second) > LAST_MONTH:
            return join_day(year, first, second)
        if int(first) > LAST_MONTH or first == second:
            return join_day(year, second, first)
        message = _(
            "Either number can be the month. Write the year, month and day, as in"
            " 2026-12-31."
        )
        raise InvalidCell(message, text)
    return text


def join_day(year: str, month: str, day: str) -> str:
    full_year = year if len(year) == 4 else f"{CENTURY}{year}"
    return f"{full_year}-{month:0>2}-{day:0>2}"
