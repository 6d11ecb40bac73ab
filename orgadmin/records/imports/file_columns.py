"""Describes the columns of a file, so that people can choose what they contain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from orgadmin.records.imports.file_records import SAMPLE_SIZE, Record
from orgadmin.records.imports.header import Header, TitleReader
from orgadmin.records.imports.problems import FileRefused, printable

# The number of sample values that are shown for each column
MAX_SAMPLES_SHOWN = 3


@dataclass(frozen=True)
class ColumnPreview:
    """A column of a file, and the field that it contains."""

    title: str
    field: str  # what the column contains; empty if it is not used
    samples: Sequence[str]
    # Whether people can choose the field. They cannot if the column has no title, or if
    # another column has the same title.
    is_choosable: bool


def preview_columns(
    records: Iterable[Record], titles: TitleReader
) -> list[ColumnPreview]:
    """Return the columns of a table, even if it cannot be imported in this form.

    Reads only the first records.
    """
    sample: list[Record] = []
    with suppress(FileRefused):
        sample += islice(records, SAMPLE_SIZE)
    if not sample:
        return []
    index = titles.find_header(sample)
    header = sample[index]
    fields = find_fields(header, titles)
    counts = Counter(titles.fold(title) for title in header.cells)
    columns = []
    for position, title in enumerate(header.cells):
        folded = titles.fold(title)
        field = fields.get(position, "")
        is_known = not field or field in titles.choosable
        columns.append(
            ColumnPreview(
                title=title,
                field=field,
                samples=find_samples(sample[index + 1 :], position),
                is_choosable=bool(folded) and counts[folded] == 1 and is_known,
            )
        )
    return columns


def find_fields(record: Record, titles: TitleReader) -> dict[int, str]:
    """Return {index of a column: what it contains}."""
    try:
        return invert(titles.read(record))
    except FileRefused:
        pass
    # Something is wrong with the header. People can correct it by choosing fields.
    fields = {}
    for position, title in enumerate(record.cells):
        name = titles.find_field(title)
        if name is not None:
            fields[position] = name
    return fields


def invert(header: Header) -> dict[int, str]:
    positions = {**header.positions, **header.address_parts}
    return {position: name for name, position in positions.items()}


def find_samples(records: Sequence[Record], position: int) -> list[str]:
    """Return the first few distinct values of a column, in printable form."""
    samples: dict[str, bool] = {}
    for record in records:
        for cell in record.cells[position : position + 1]:
            if cell:
                samples[printable(cell)] = True
    return list(samples)[:MAX_SAMPLES_SHOWN]


def fit_mapping(
    columns: Iterable[ColumnPreview],
    saved: Mapping[str, str],
    reader: type[TitleReader],
) -> dict[str, str]:
    """Return the part of a saved mapping that applies to the columns of a file.

    Columns that the saved mapping does not contain are mapped to "": not used.
    """
    by_title = {reader.fold(title): field for title, field in saved.items()}
    mapping = {}
    for column in columns:
        folded = reader.fold(column.title)
        field = by_title.get(folded, "")
        if column.is_choosable and field in ("", *reader.choosable):
            mapping[column.title] = field
    return mapping


def make_mapping(
    columns: Iterable[ColumnPreview], chosen: Mapping[str, str]
) -> dict[str, str]:
    """Return `ImportOptions.mapping` for the fields that a person has chosen.

    `chosen` is {title: field}. The mapping contains all columns that can be chosen.
    Otherwise, a field could be taken from another column if the person has chosen not
    to use its column.
    """
    mapping = {}
    for column in columns:
        if column.is_choosable:
            mapping[column.title] = chosen.get(column.title, column.field)
    return mapping
