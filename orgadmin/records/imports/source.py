"""Where an import reads its table: from a file, or from stored records."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import file_digest
from typing import BinaryIO, Protocol

from orgadmin.records.imports.header import TitleReader
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.tables import Table, read_table


class Source(Protocol):
    """What an import reads its table from."""

    def hash(self) -> str:
        """Return the SHA-256 of the file."""

    def read(self, options: ImportOptions, titles: TitleReader) -> Table:
        """Return the table. Raises `FileRefused` if the file cannot be imported."""


@dataclass(frozen=True)
class FileSource:
    file: BinaryIO

    def hash(self) -> str:
        return hash_file(self.file)

    def read(self, options: ImportOptions, titles: TitleReader) -> Table:
        return read_table(self.file, options, titles)


def hash_file(file: BinaryIO) -> str:
    file.seek(0)
    return file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
