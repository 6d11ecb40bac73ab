"""Recognizing the kind of a file by its content. The file name does not matter."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from lzma import LZMAError
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.records.imports.problems import FileRefused, ImportProblem

CSV = "csv"
WORKBOOK = "workbook"

HEAD_SIZE = 4_096  # bytes that are read from the beginning of a file

ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
# Microsoft's container of older files: .xls, .doc, .msg, and encrypted .xlsx files
CONTAINER = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# .xls files of Excel 2 to 4 have no container.
OLD_WORKBOOKS = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00")


@dataclass(frozen=True)
class Signature:
    """The first bytes of a kind of file that cannot be imported."""

    start: bytes
    kind: str | Promise


# In lower case, because the comparison ignores case.
SIGNATURES = (
    Signature(b"%pdf", gettext_lazy("a PDF")),
    Signature(b"begin:vcard", gettext_lazy("a vCard with contacts")),
    Signature(b"begin:vcalendar", gettext_lazy("a calendar")),
    Signature(b"<!doctype html", gettext_lazy("a web page (HTML)")),
    Signature(b"<html", gettext_lazy("a web page (HTML)")),
    Signature(b"<table", gettext_lazy("a web page (HTML)")),
    Signature(b"<meta", gettext_lazy("a web page (HTML)")),
    Signature(b"<?xml", gettext_lazy("an XML file")),
    Signature(b"{\\rtf", gettext_lazy("a text document (RTF)")),
    Signature(b"\x89png", gettext_lazy("an image")),
    Signature(b"\xff\xd8\xff", gettext_lazy("an image")),
    Signature(b"gif8", gettext_lazy("an image")),
    Signature(b"riff", gettext_lazy("an image or a recording")),
    Signature(b"ii*\x00", gettext_lazy("an image")),
    Signature(b"mm\x00*", gettext_lazy("an image")),
    Signature(b"sqlite format 3", gettext_lazy("a database")),
    Signature(b"\x1f\x8b", gettext_lazy("a compressed file")),
    Signature(b"rar!", gettext_lazy("a compressed file")),
    Signature(b"7z\xbc\xaf", gettext_lazy("a compressed file")),
    Signature(b"mz", gettext_lazy("a program")),
    Signature(b"\x7felf", gettext_lazy("a program")),
)

# These signatures can also be the beginning of a column title. They only count if the
# file also contains control characters, which text does not contain.
BINARY_ONLY = (b"mz", b"riff", b"gif8", b"rar!")

JSON = re.compile(rb"[\[{]\s*[\"{\[]")

# {file in a ZIP archive: the kind of archive}
ARCHIVES = {
    "word/document.xml": gettext_lazy("a text document (Word)"),
    "ppt/presentation.xml": gettext_lazy("a presentation (PowerPoint)"),
    "Index/Document.iwa": gettext_lazy("a file of Numbers or Pages"),
}
SHEETS = ("xl/workbook.xml", "xl/workbook.bin")
OPEN_DOCUMENT = "application/vnd.oasis.opendocument."

# What `zipfile` raises for archives that are damaged, encrypted, or compressed with an
# unsupported method. NotImplementedError is a RuntimeError.
UNREADABLE = (
    BadZipFile,
    EOFError,
    LZMAError,
    OSError,
    RuntimeError,
    ValueError,
    zlib.error,
)

# What people can do if a file is not a table
CURE = gettext_lazy(
    "Open it in a spreadsheet program if that is possible, and save the table as a"
    " workbook (.xlsx) or as “CSV UTF-8”."
)


def recognize_kind(file: BinaryIO) -> str:
    """Return WORKBOOK, or CSV for a text file or an unknown kind of file.

    Raises `FileRefused` for files that are recognized as something else.
    """
    file.seek(0)
    head = file.read(HEAD_SIZE)
    if head.startswith((ZIP, EMPTY_ZIP)):
        check_archive_kind(file)
        return WORKBOOK
    if head.startswith(CONTAINER):
        check_container_kind(file)
        return WORKBOOK
    if head.startswith(OLD_WORKBOOKS):
        raise make_kind_error(_("a workbook of a very old version of Excel"))
    check_is_text(head)
    return CSV


def check_is_text(head: bytes) -> None:
    """Raise `FileRefused` if the first bytes of a file show that it is not a table."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_binary = re.search(rb"[\x00-\x08\x0e-\x1a]", head) is not None
    for signature in SIGNATURES:
        if not start.startswith(signature.start):
            continue
        if is_binary or signature.start not in BINARY_ONLY:
            raise make_kind_error(str(signature.kind))
    if JSON.match(start):
        raise make_kind_error(_("a JSON file"))


def check_archive_kind(file: BinaryIO) -> None:
    """Raise `FileRefused` if a ZIP archive is not a workbook."""
    file.seek(0)
    try:
        with ZipFile(file) as archive:
            names = archive.namelist()
            kind = find_archive_kind(archive, names)
    except UNREADABLE as error:
        raise FileRefused(describe_damage()) from error
    if kind:
        raise make_kind_error(kind)


def find_archive_kind(archive: ZipFile, names: list[str]) -> str:
    """Return what a ZIP archive is, or an empty string if it is a workbook."""
    if any(name in names for name in SHEETS):
        return ""
    for name, kind in ARCHIVES.items():
        if name in names:
            return str(kind)
    if "mimetype" in names and archive.getinfo("mimetype").file_size < HEAD_SIZE:
        mimetype = archive.read("mimetype").decode("ascii", "replace").strip()
        if mimetype.startswith(f"{OPEN_DOCUMENT}spreadsheet"):
            return ""
        if mimetype.startswith(OPEN_DOCUMENT):
            return _("a document of LibreOffice without a table")
    return _("a ZIP archive with other files")


def check_container_kind(file: BinaryIO) -> None:
    """Raise `FileRefused` if a Microsoft container cannot be read as a workbook.

    This is the case if it is encrypted, or if it contains another kind of document. The
    names of the streams in the container are UTF-16.
    """
    file.seek(0)
    content = file.read()
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise FileRefused(describe_password())
    for name, kind in (
        ("WordDocument", _("a text document (Word)")),
        ("PowerPoint Document", _("a presentation (PowerPoint)")),
        ("__properties_version1.0", _("an email")),
    ):
        if name.encode("utf-16-le") in content:
            raise make_kind_error(kind)


def make_kind_error(kind: str) -> FileRefused:
    """Return the error that says what kind of file it is, and what to do."""
    message = _("This file is %(kind)s, not a table. %(cure)s")
    values = {"kind": kind, "cure": CURE}
    return FileRefused(ImportProblem(message % values))


def describe_damage() -> ImportProblem:
    return ImportProblem(
        _(
            "This workbook is damaged or incomplete. Open it in a spreadsheet program,"
            " save it again, and import that file."
        )
    )


def describe_password() -> ImportProblem:
    return ImportProblem(
        _(
            "This workbook is protected with a password. Save it without one, and"
            " import that file."
        )
    )
