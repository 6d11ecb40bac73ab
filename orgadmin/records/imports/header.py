"""Finding the header of a table, and what its columns contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from orgadmin.models import Import
from orgadmin.records.columns import (
    ADDRESS_PARTS,
    COLUMNS,
    FIELDS,
    FOLDED_FIRST_NAMES,
    FOLDED_GENERAL_NAMES,
    FOLDED_PERSON_TITLES,
    FOLDED_ROLE_TITLES,
    ROLE_COLUMNS,
    find_field,
    find_second_field,
    fold_title,
)
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.problems import FileRefused, ImportProblem, printable

# A file with a column of organization names is still a file of people if it has at
# least this many of their titles.
MANY_PERSON_TITLES = 3


@dataclass(frozen=True)
class Header:
    """The columns of the file, and the field that each of them contains."""

    titles: list[str]
    positions: dict[str, int]  # {field: index of its column}
    ignored: list[str]  # titles of unused columns, in printable form
    # {part of the address: index of its column}, if no column has the whole address
    address_parts: dict[str, int] = field(default_factory=dict)
    line: int = 1
    # Whether there is a column of IDs that are not from an export of this site
    has_foreign_ids: bool = False

    @property
    def fields(self) -> set[str]:
        """The fields in the columns. Columns for parts of an address are "address"."""
        parts = {"address"} if self.address_parts else set()
        return {*self.positions, *parts}

    def find_title(self, name: str) -> str:
        """Return the title of a field's column, as in the file.

        For an address in several columns, returns the title of the first one.
        """
        position = self.positions.get(name)
        if position is None:
            position = min(self.address_parts.values())
        return self.titles[position]


class TitleReader:
    """Determines what columns contain, by their titles and by the person's choices.

    This class is for files of organizations. A subclass knows other titles.
    """

    # What the columns can contain
    columns: Sequence[str] = COLUMNS
    # What people can choose for a column. The columns with IDs from an export cannot be
    # chosen. They are only recognized by their titles.
    choosable: Sequence[str] = (*FIELDS, *ROLE_COLUMNS, *ADDRESS_PARTS)

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self.mapping = {self.fold(title): name for title, name in mapping.items()}
        self.original_titles = {self.fold(title): title for title in mapping}
        self.chosen = set(self.mapping.values())

    @staticmethod
    def fold(title: str) -> str:
        """Return a normal form that is the same for different spellings of a title."""
        return fold_title(title)

    @staticmethod
    def find_known(title: str) -> str | None:
        """Return what a column with a known title contains, or None."""
        return find_field(title)

    @staticmethod
    def find_second(title: str) -> str | None:
        """Return the field for which a column is the second choice, or None.

        The column is used if no other column contains the field.
        """
        return find_second_field(title)

    def is_header(self, record: Record) -> bool:
        """Return whether a record contains the title that every header must have."""
        return any(self.find_field(title) == "name" for title in record.cells)

    def check(self, record: Record, found: Mapping[str, int]) -> None:
        """Raise `FileRefused` if a column is missing or if this is a file of people."""
        self._check_not_people(record, found)
        check_has_names(record, found)

    def find_field(self, title: str) -> str | None:
        """Return what a column contains, or None if it is not used.

        If the person has chosen a column for a field, no other column is used for it.
        """
        folded = self.fold(title)
        if folded in self.mapping:
            return self.mapping[folded] or None
        name = self.find_known(title)
        return None if name in self.chosen else name

    def rate(self, records: Sequence[Record]) -> int:
        """Return the number of known titles in the records' most likely header."""
        return max((self.count_known(record) for record in records), default=0)

    def count_known(self, record: Record) -> int:
        count = 0
        for title in record.cells:
            is_of_person = fold_title(title) in FOLDED_PERSON_TITLES
            if is_of_person or self.find_field(title) is not None:
                count += 1
        return count

    def find_header(self, records: Sequence[Record]) -> int:
        """Return the index of the header in the first records of a table.

        Lines before the header may contain titles of the whole table.
        """
        for minimum in (2, 1):
            for index, record in enumerate(records):
                known = self.count_known(record)
                if self.is_header(record) and known >= minimum:
                    return index if follows_titles(records, index) else 0
        counts = [self.count_known(record) for record in records]
        best = max(counts)
        index = counts.index(best)
        return index if follows_titles(records, index) else 0

    def read(self, record: Record) -> Header:
        """Return the header that a record contains.

        Raises `FileRefused` if two columns contain the same field, if a chosen column
        does not exist, or if `check()` raises it.
        """
        self._check_mapping(record)
        found: dict[str, int] = {}
        for position, title in enumerate(record.cells):
            name = self.find_field(title)
            if name is None:
                continue
            if name in found:
                raise FileRefused(
                    describe_same_field(record, name, found[name], position)
                )
            found[name] = position
        self._add_second(record, found)
        self.check(record, found)
        return make_header(record, found)

    def _add_second(self, record: Record, found: dict[str, int]) -> None:
        """Add second-choice columns for fields that no other column contains."""
        for position, title in enumerate(record.cells):
            name = self.find_second(title)
            is_chosen = self.fold(title) in self.mapping or name in self.chosen
            if name is not None and not is_chosen:
                found.setdefault(name, position)

    def _check_mapping(self, record: Record) -> None:
        """Raise `FileRefused` if a column or field of the mapping does not exist."""
        titles = {self.fold(title) for title in record.cells}
        for folded, name in self.mapping.items():
            title = self.original_titles[folded]
            if name and name not in self.columns:
                message = _("There is no field “%(field)s”. The fields are: %(names)s.")
                values = {"field": printable(name), "names": ", ".join(self.columns)}
                raise FileRefused(ImportProblem(message % values))
            if folded not in titles:
                message = _(
                    "There is no column “%(title)s”. The columns are: %(names)s."
                )
                names = list_titles(record)
                values = {"title": printable(title), "names": names}
                raise FileRefused(ImportProblem(message % values, record.line))

    def _check_not_people(self, record: Record, found: Mapping[str, int]) -> None:
        """Raise `FileRefused` for a file of people.

        Does nothing if the person has chosen a column for the name of the organization.
        """
        if "name" in self.chosen:
            return
        folded = {fold_title(title) for title in record.cells}
        if "email" in found and folded & FOLDED_ROLE_TITLES:
            raise FileRefused(describe_file_of_people(record.line))
        person_titles = folded & FOLDED_PERSON_TITLES
        if not person_titles:
            return
        position = found.get("name")
        name = "" if position is None else fold_title(record.cells[position])
        is_name_of_person = not name or name in FOLDED_GENERAL_NAMES
        has_first_name = bool(folded & FOLDED_FIRST_NAMES)
        if is_name_of_person and has_first_name:
            raise FileRefused(describe_file_of_people(record.line))
        if len(person_titles) >= MANY_PERSON_TITLES:
            raise FileRefused(describe_file_of_people(record.line))


def follows_titles(records: Sequence[Record], index: int) -> bool:
    """Return whether the records before a header have few enough cells to be titles."""
    width = count_filled(records[index])
    for record in records[:index]:
        filled = count_filled(record)
        if filled > 2 or filled > max(width - 1, 1):
            return False
    return True


def count_filled(record: Record) -> int:
    return sum(1 for cell in record.cells if cell)


def make_header(record: Record, found: Mapping[str, int]) -> Header:
    """Return the header. `found` is {field: index of its column}.

    A column of IDs is ignored if there is no column "id_key". Columns with parts of an
    address are ignored if another column contains the whole address.
    """
    positions = dict(found)
    has_foreign_ids = "id" in positions and "id_key" not in positions
    if has_foreign_ids:
        del positions["id"]
    address_parts = {}
    for part in ADDRESS_PARTS:
        position = positions.pop(part, None)
        if position is not None and "address" not in positions:
            address_parts[part] = position
    used = {*positions.values(), *address_parts.values()}
    ignored = []
    for position, title in enumerate(record.cells):
        if position not in used:
            untitled = _("(column %d, without a title)") % (position + 1)
            ignored.append(printable(title) or untitled)
    return Header(
        titles=record.cells,
        positions=positions,
        ignored=ignored,
        address_parts=address_parts,
        line=record.line,
        has_foreign_ids=has_foreign_ids,
    )


def describe_same_field(
    record: Record, name: str, first: int, second: int
) -> ImportProblem:
    message = _(
        "This column and column “%(other)s” both contain “%(field)s”. Remove one of"
        " them."
    )
    values = {"other": printable(record.cells[first]), "field": name}
    title = record.cells[second]
    return ImportProblem(message % values, record.line, column=title)


def check_has_names(record: Record, found: Mapping[str, int]) -> None:
    """Raise `FileRefused` if no column contains the names of the organizations."""
    if "name" in found:
        return
    message = _(
        "There is no column “name”. The columns are: %s. Change the title of the column"
        " that contains the names of the organizations to “name”."
    )
    raise FileRefused(ImportProblem(message % list_titles(record), record.line))


def list_titles(record: Record) -> str:
    return ", ".join(printable(title) or "-" for title in record.cells)


def describe_file_of_people(line: int) -> ImportProblem:
    return ImportProblem(
        _(
            "This is a file of people, not of organizations. Import it as a file of"
            " people. If each line is an organization after all, change the title of"
            " the column with its name to “name”, and remove the columns with names of"
            " people."
        ),
        line,
        subject=Import.Subject.PEOPLE,
    )
