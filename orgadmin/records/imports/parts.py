"""Reads and writes the parts of a stored import.

A large file does not fit into one row of the database, so it is stored in parts.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast, overload

from orgadmin.models import Import, ImportPart

# All parts have this many items, except the last one.
ITEMS_PER_PART = 1_000

# The number of bytes of a file in one part
BYTES_PER_PART = 1_000_000


class PartWriter:
    """Collects items, compressed in memory, and saves them as parts."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.items: list[Any] = []
        self.contents: list[bytes] = []

    def add(self, item: Any) -> None:
        self.items.append(item)
        self.count += 1
        if len(self.items) == ITEMS_PER_PART:
            self._pack()

    def _pack(self) -> None:
        self.contents.append(ImportPart.pack(self.items))
        self.items = []

    def save(self, stored: Import) -> None:
        """Replace the import's parts of this kind with the collected items."""
        if self.items:
            self._pack()
        stored.parts.filter(kind=self.kind).delete()
        for number, content in enumerate(self.contents):
            stored.parts.create(kind=self.kind, number=number, content=content)


class PartList(Sequence[Any]):
    """The stored items of one kind. Reads only the parts that are needed."""

    def __init__(self, stored: Import, kind: str) -> None:
        self.parts = stored.parts.filter(kind=kind).order_by("number")

    def __len__(self) -> int:
        last = self.parts.last()
        return (
            0 if last is None else last.number * ITEMS_PER_PART + len(last.read_items())
        )

    def __iter__(self) -> Iterator[Any]:
        numbers = list(self.parts.values_list("number", flat=True))
        for number in numbers:
            yield from self._read(number)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, int):
            return self._read(index // ITEMS_PER_PART)[index % ITEMS_PER_PART]
        start = index.start or 0
        stop = len(self) if index.stop is None else index.stop
        first = start // ITEMS_PER_PART
        items: list[Any] = []
        for number in range(
            first, (max(stop, start) + ITEMS_PER_PART - 1) // ITEMS_PER_PART
        ):
            items += self._read(number)
        offset = first * ITEMS_PER_PART
        return items[start - offset : stop - offset]

    def _read(self, number: int) -> list[Any]:
        part = self.parts.filter(number=number).first()
        return [] if part is None else part.read_items()


def store_file(stored: Import, file: BinaryIO) -> None:
    """Store an uploaded file in compressed parts."""
    file.seek(0)
    number = 0
    while content := file.read(BYTES_PER_PART):
        stored.parts.create(
            kind=ImportPart.Kind.FILE, number=number, content=zlib.compress(content)
        )
        number += 1


@contextmanager
def open_stored_file(stored: Import) -> Iterator[BinaryIO]:
    """Yield a temporary file with the content of the uploaded file."""
    parts = stored.parts.filter(kind=ImportPart.Kind.FILE).order_by("number")
    with tempfile.TemporaryFile() as file:
        for number in list(parts.values_list("number", flat=True)):
            file.write(zlib.decompress(parts.get(number=number).content))
        file.seek(0)
        yield cast(BinaryIO, file)
