"""The table of files: name, content, choices, and what the import does.

Before each import, there are the organizations that `STORED` lists. What an import does
is written as `describe()` in tests/test_import_corpus.py puts it: how many rows are
new, changed or skipped, the words of its warnings, or what it was refused for.
"""

from dataclasses import dataclass
from pathlib import Path

from orgadmin.records.import_options import DEFAULTS, ImportOptions, Limits
from tests.import_corpus.workbook_files import make_archive, make_bomb, make_workbook

OFFICE = Path(__file__).parent / "office"

# {reference: other fields}
STORED = {
    "R1": {"name": "Acme", "phone": "030 1234567", "notes": "Kept", "tax_id": "DE1"},
    "00042": {"name": "Zero", "email": "info@zero.example", "website": ""},
    "R3": {"name": "Müller", "address": "Weg 1\n12345 Ort"},
    "R4": {"name": "NULL", "phone": "4.91512E+11"},
}


@dataclass(frozen=True)
class Case:
    name: str
    content: bytes
    outcome: str
    options: ImportOptions = DEFAULTS


def text(name, content, outcome, saved_as="utf-8", **options):
    return Case(name, content.encode(saved_as), outcome, ImportOptions(**options))


def book(name, rows, outcome, **options):
    return Case(
        name, make_workbook({"Sheet1": rows}), outcome, ImportOptions(**options)
    )


def make_table(delimiter, line_end):
    rows = [["Firma", "Straße", "Notiz"], ["Bäcker & Söhne", "Allee 5", "a"]]
    rows.append(["Café Élan", "Größe 7", "„b“"])
    return "".join(delimiter.join(row) + line_end for row in rows)


def list_encodings():
    """Yield a file for each encoding, separator and line end."""
    encodings = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "mac_roman", "utf-16-le")
    for encoding in encodings:
        for delimiter in (",", ";", "\t", "|"):
            for line_end in ("\n", "\r\n", "\r"):
                name = f"{encoding} {delimiter!r} {line_end!r}"
                table = make_table(delimiter, line_end)
                yield text(name, table, "2 new", encoding)


FORMATS = [
    *list_encodings(),
    text("utf-16-be without a mark", make_table(";", "\n"), "2 new", "utf-16-be"),
    text("sep line", "sep=;\r\nname;phone\r\nNew;1\r\n", "1 new"),
    text("sep line of a rare separator", "sep=^\nname^phone\nNew^1\n", "1 new"),
    text("quoted sep line", '"sep=|"\nname|phone\nNew|1\n', "1 new"),
    text("separator inside quotes", 'name;address\n"New, Inc.";"a, b"\n', "1 new"),
    text("one column", "name\nNew\nOther\n", "2 new"),
    text("no line end", "name,phone\nNew,1", "1 new"),
    text("blank lines", "\n\nname,phone\n\nNew,1\n,\n\n", "1 new"),
    text("spaces around", " name , phone \n New , 1 \n", "1 new"),
    text("separators at line ends", "name;phone\nNew;1;;;\n", "1 new"),
    text("line breaks in cells", 'name,address\nNew,"a\nb"\n', "1 new"),
    text("very long cell", f"name,notes\nNew,{'x' * 200_000}\n", "refused: line 2"),
    text("Central Europe", "name\nDvořák\n", "1 new", "cp1250", encoding="cp1250"),
    text(
        "Cyrillic is not guessed",
        "name\nРоссия\n",
        "refused: line 2: The encoding of this file cannot be recognized.",
        "cp1251",
    ),
    text("Cyrillic is chosen", "name\nРоссия\n", "1 new", "cp1251", encoding="cp1251"),
    Case(
        "the wrong encoding is chosen",
        "name\nMüller KG\n".encode("cp1252"),
        "refused: line 2, “M\ufffd”: This is not text in UTF-8.",
        ImportOptions(encoding="utf-8-sig"),
    ),
    Case(
        "a mix of encodings",
        "name\nCafé\n".encode() + "Bär\n".encode("cp1252"),
        "refused: line 3, “B\ufffd”: This is not text in UTF-8.",
    ),
    Case(
        "half a character",
        b"name\na\xed\xa0\x80b\n",
        "refused: line 2, “a\ufffd”: This is not text in UTF-8.",
    ),
    Case("empty", b"", "refused: The file has no header line."),
    Case("only line ends", b"\r\n\r\n", "refused: The file has no header line."),
    Case("PDF", b"%PDF-1.7\n%\xe2\xe3", "refused: This file is a PDF, not a table."),
    text("vCard", "BEGIN:VCARD\nFN:A\n", "refused: This file is a vCard"),
    text("calendar", "BEGIN:VCALENDAR\n", "refused: This file is a calendar"),
    text("HTML", "<!DOCTYPE html><table>", "refused: This file is a web page"),
    text("HTML as .xls", "\n<html><table>", "refused: This file is a web page"),
    text("XML", '<?xml version="1.0"?><a/>', "refused: This file is an XML file"),
    text("JSON", '[{"name": "New"}]', "refused: This file is a JSON file"),
    text("RTF", "{\\rtf1 New}", "refused: This file is a text document (RTF)"),
    Case("PNG", b"\x89PNG\r\n\x1a\n\0", "refused: This file is an image"),
    Case("JPEG", b"\xff\xd8\xff\xe0\0", "refused: This file is an image"),
    Case("GIF", b"GIF89a\x01\0\x01\0", "refused: This file is an image"),
    Case("gzip", b"\x1f\x8b\x08\0", "refused: This file is a compressed file"),
    Case("program", b"MZ\x90\0\3\0", "refused: This file is a program"),
    Case("SQLite", b"SQLite format 3\0", "refused: This file is a database"),
    Case(
        "ZIP of other things",
        make_archive({"photo.jpg": b"x"}),
        "refused: This file is a ZIP archive with other files, not a table.",
    ),
    Case(
        "Word", make_archive({"word/document.xml": "<a/>"}), "refused: This file is a"
    ),
    Case(
        "LibreOffice Writer",
        make_archive({"mimetype": "application/vnd.oasis.opendocument.text"}),
        "refused: This file is a document of LibreOffice without a table",
    ),
    text("a title that is no program", "MZ-Nr;name\n1;New\n", "1 new"),
    book("workbook", [["name", "phone"], ["New", "030 1"]], "1 new"),
    book("numbers in a workbook", [["name", "phone"], ["New", 491512345678]], "1 new"),
    book("formulas without results", [["name", "phone"], ["New", None]], "1 new"),
    book("empty workbook", [], "refused: The file has no header line."),
    Case(
        "first sheet with text",
        make_workbook({"Empty": [], "Data": [["name"], ["New"]]}),
        "1 new",
    ),
    Case(
        "hidden sheet",
        make_workbook({"H": [["name"], ["x"], ["y"]], "D": [["name"], ["z"]]}, ["H"]),
        "1 new",
    ),
    Case(
        "sheet by name",
        make_workbook({"A": [["name"], ["x"]], "B": [["name"], ["y"], ["z"]]}),
        "2 new",
        ImportOptions(sheet="b"),
    ),
    Case(
        "sheet by number",
        make_workbook({"A": [["name"], ["x"]], "B": [["name"], ["y"], ["z"]]}),
        "2 new",
        ImportOptions(sheet="2"),
    ),
    Case(
        "no such sheet",
        make_workbook({"A": [["name"], ["x"]]}),
        "refused: This workbook has no sheet “C”. Its sheets are: A.",
        ImportOptions(sheet="C"),
    ),
    Case(
        "truncated workbook",
        make_workbook({"A": [["name"], ["x"]]})[:-40],
        "refused: This workbook is damaged or incomplete.",
    ),
    Case(
        "cells far apart",
        make_workbook({"A": [{"A1": "name"}, {"XFD1048576": "x"}]}),
        "refused: This sheet is too large to be read",
    ),
    Case(
        "zip bomb",
        make_bomb(600),
        "refused: Unpacked, this workbook has 600 MB, and at most 500 MB can be read.",
    ),
    Case(
        "encrypted workbook",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
        "refused: This workbook is protected with a password.",
    ),
    text(
        "too many rows",
        "name\n" + "x\n" * 6,
        "refused: The file has 6 rows, and at most 5 can be imported.",
        limits=Limits(rows=5, size=100),
    ),
    text(
        "as many rows as allowed", "name\n" + "New\n" * 5, "5 new", limits=Limits(5, 99)
    ),
    book(
        "too many rows in a workbook",
        [["name"], *[["x"]] * 6],
        "refused: The file has 6 rows, and at most 5 can be imported.",
        limits=Limits(rows=5, size=10_000),
    ),
    text(
        "too many bytes",
        "name\n" + "x" * 1_200_000,
        "refused: The file has 1.2 MB, and at most 1.0 MB can be imported.",
        limits=Limits(rows=5, size=1_000_000),
    ),
]

CASES = FORMATS
