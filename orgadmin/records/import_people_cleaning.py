"""Cleaning the cells of a record that gives a person a role in an organization."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils.translation import gettext as _

from orgadmin.access.roles import Role
from orgadmin.models.addresses import fold_email
from orgadmin.people.changes import MembershipEnd
from orgadmin.records.import_cleaning import (
    EMAIL_FIELD,
    InvalidCell,
    RecordCleaner,
    clean_field,
    clean_last_day,
    clean_value,
)
from orgadmin.records.import_people_columns import NO_END, find_role
from orgadmin.records.import_problems import ImportProblem, RowRefused
from orgadmin.records.import_records import Record

# A day as Germans write it. With slashes, nobody knows which number is the month.
GERMAN_DAY = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")


@dataclass(frozen=True)
class PersonNames:
    """What a file says about the name of a person. Empty texts say nothing."""

    first: str = ""
    last: str = ""
    full: str = ""

    def __str__(self) -> str:
        return self.full or f"{self.first} {self.last}".strip()


@dataclass(frozen=True)
class OrganizationKey:
    """How a row says which organization it is about."""

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
    role: Role | None  # None: the row is only about the person
    end: MembershipEnd | None  # None keeps the one that the membership has


class PersonCleaner(RecordCleaner):
    """Turns the records of a file into rows."""

    def clean(self, record: Record) -> PersonRow:
        """Return the row of a record. Raises `RowRefused` with all of its problems."""
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
                problems.append(self.describe(error, record, name))
        pk = None
        try:
            pk = self.clean_id(record)
        except InvalidCell as error:
            problems.append(self.describe(error, record, "id"))
        if problems:
            raise RowRefused(*problems)
        row = PersonRow(
            line=record.line,
            email=cleaned["email"],
            names=PersonNames(
                self.get_cell(record, "first_name"),
                self.get_cell(record, "last_name"),
                self.get_cell(record, "full_name"),
            ),
            key=OrganizationKey(
                pk, cleaned["reference"], self.get_cell(record, "organization")
            ),
            role=cleaned["role"],
            end=cleaned["until"],
        )
        self._check_complete(row)
        return row

    def clean_id(self, record: Record) -> int | None:
        try:
            return super().clean_id(record)
        except InvalidCell as error:
            message = _(
                "This ID does not belong to the “organization_id_key” in its line."
                " Export the people again, or empty both cells and enter the reference"
                " of the organization."
            )
            raise InvalidCell(message, error.value) from error

    def _check_complete(self, row: PersonRow) -> None:
        """Raise `RowRefused` if a row has an organization without a role."""
        if row.role is None and (row.key != OrganizationKey() or row.end is not None):
            message = _("Enter the role: “admin” or “reviewer”.")
            title = self.header.find_title("role")
            raise RowRefused(ImportProblem(message, row.line, title))


def clean_email(cell: str) -> str:
    if not cell:
        raise InvalidCell(_("Enter the email address of the person."), cell)
    return fold_email(clean_field(EMAIL_FIELD, cell, cell))


def clean_reference(cell: str) -> str | None:
    return clean_value("reference", cell)


def clean_role(cell: str) -> Role | None:
    """Return the role that a cell names, or None if it is empty."""
    if not cell:
        return None
    role = find_role(cell)
    if role is None:
        raise InvalidCell(
            _("There is no such role. Enter “admin” or “reviewer”."), cell
        )
    return role


def clean_end(cell: str) -> MembershipEnd | None:
    """Return the end that a cell asks for, or None if it is empty.

    A word such as “none” removes the end that the membership has.
    """
    if not cell:
        return None
    if cell.casefold() in NO_END:
        return MembershipEnd(None)
    return MembershipEnd(clean_last_day(write_day(cell)))


def write_day(cell: str) -> str:
    """Return a German day with the year first. Everything else stays as it is."""
    match = GERMAN_DAY.fullmatch(cell)
    if match is None:
        return cell
    try:
        day = date(int(match[3]), int(match[2]), int(match[1]))
        return day.isoformat()
    except ValueError:
        return cell
