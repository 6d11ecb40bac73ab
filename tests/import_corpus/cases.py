"""The table of files: name, content, choices, and what the import does.

Before each import, there are the organizations that `STORED` lists. What an import does
is written as `describe()` in tests/test_import_corpus.py puts it: how many rows are
new, changed or skipped, the words of its warnings, or what it was refused for.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from orgadmin.records.imports.options import DEFAULTS, ImportOptions, Limits
from tests.import_corpus.workbook_files import (
    FormulaError,
    make_archive,
    make_bomb,
    make_entities,
    make_file_entity,
    make_unreadable_archive,
    make_workbook,
)

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
    text(
        "no mark of UTF-16", "name\nx\n", "refused: This is not text", encoding="utf-16"
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
        "encrypted archive",
        make_unreadable_archive(is_encrypted=True),
        "refused: This workbook is damaged or incomplete.",
    ),
    Case(
        "damaged archive",
        make_unreadable_archive(),
        "refused: This workbook is damaged or incomplete.",
    ),
    Case(
        "cells far apart",
        make_workbook({"A": [{"A1": "name"}, {"XFD1048576": "x"}]}),
        "refused: This sheet is too large to be read",
    ),
    Case(
        "one long text in many cells",
        make_workbook({"A": [["name"], *[["x" * 30_000]] * 20]}),
        "refused: This sheet is too large to be read",
        ImportOptions(limits=Limits(rows=100, size=20_000)),
    ),
    Case(
        "zip bomb",
        make_bomb(600),
        "refused: Unpacked, this workbook has 600 MB, and at most 500 MB can be read.",
    ),
    Case("an entity a billion times", make_entities(), "refused: This workbook is dam"),
    Case(
        "a file as an entity", make_file_entity(), "refused: This workbook is damaged"
    ),
    Case(
        "many files",
        make_archive({"xl/workbook.xml": ""} | {f"f{n}": "" for n in range(5_000)}),
        "refused: This workbook consists of 5,001 files, and at most 5,000 can be read",
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

COLUMNS = [
    text(
        "German titles",
        "Firmenname;Telefonnr.;Straße;PLZ;Ort\nNew;1;A 1;1;B\n",
        "1 new",
    ),
    text(
        "German accounting",
        "Kd.-Nr.;Name 1;USt-IdNr.;E-Mail-Adresse\n7;New;DE7;a@b.de\n",
        "1 new",
    ),
    text(
        "French titles",
        "Raison sociale;Téléphone;Adresse;N° TVA;Site web\nNew;1;A;FR1;new.example\n",
        "1 new",
    ),
    text(
        "HubSpot",
        "Record ID,Company name,Company owner,Phone Number,City,Country/Region,"
        "Company Domain Name,Website URL\n"
        "123,New,,+1 555,Paris,France,new.example,https://new.example\n",
        "1 new",
    ),
    text(
        "Salesforce",
        "Account ID,Account Name,Account Number,Phone,Website,Billing Street,"
        "Billing City,Billing Zip/Postal Code,Billing Country,Description\n"
        "001xx,New,R9,1,new.example,1 Main St,Town,1,US,Text\n",
        "1 new",
    ),
    text(
        "CiviCRM",
        "Contact ID,Contact Type,Organization Name,Legal Name,External Identifier,"
        "Email,Phone,Street Address,City,Postal Code,Country\n"
        "7,Organization,New,New Inc.,R9,a@b.de,1,Street 1,Town,1,Germany\n",
        "1 new",
    ),
    text(
        "Google contacts",
        "First Name,Middle Name,Last Name,Organization Name,Organization Title,"
        "Birthday,E-mail 1 - Value\nAnna,,Ba,New,Head,,a@b.de\n",
        "refused: line 1: This is a file of people",
    ),
    text(
        "Outlook contacts",
        "First Name,Last Name,Company,Job Title,Business Phone,Mobile Phone\n"
        "Anna,Ba,New,Head,1,2\n",
        "refused: line 1: This is a file of people",
    ),
    text(
        "people without a company",
        "Vorname;Nachname;E-Mail\nAnna;Ba;a@b.de\n",
        "refused: line 1: This is a file of people",
    ),
    text(
        "people whose last name is Name",
        "Vorname;Name;Telefon\nAnna;Ba;1\n",
        "refused: line 1: This is a file of people",
    ),
    text(
        "French people",
        "Prénom;Nom;Téléphone\nAnne;B;1\n",
        "refused: line 1: This is a file of people",
    ),
    text(
        "people that are organizations nevertheless",
        "Vorname;Name;Telefon\nAnna;New;1\n",
        "1 new",
        mapping={"Name": "name"},
    ),
    text("a contact beside the company", "Firma;Nachname\nNew;Ba\n", "1 new"),
    text("title line", "Customers 2026\nname;phone\nNew;1\n", "1 new, 1 skipped"),
    text(
        "two title lines and a blank one",
        "Kundenliste;;\nStand:;29.11.2026;\n;;\nFirma;Telefon;Notiz\nNew;1;\n",
        "1 new, 2 skipped",
    ),
    text(
        "a title that is a column", "Company\nname;phone\nNew;1\n", "1 new, 1 skipped"
    ),
    book(
        "title in a workbook",
        [["Customers"], [], ["Name", "Phone"], ["New", "1"]],
        "1 new, 1 skipped",
    ),
    text(
        "data above the header",
        "New;1;a@b.de\nname;phone;email\nOther;1;\n",
        "refused: line 1: There is no column “name”. The columns are: New, 1, a@b.de.",
    ),
    text(
        "no name",
        "phone;fax\n1;2\n",
        "refused: line 1: There is no column “name”. The columns are: phone, fax.",
    ),
    text(
        "mapped", "Wer;Wo\nNew;A\n", "1 new", mapping={"Wer": "name", "wo": "address"}
    ),
    text("ignored by choice", "name;email\nNew;x\n", "1 new", mapping={"email": ""}),
    text(
        "mapped to a field that does not exist",
        "Wer\nNew\n",
        "refused: There is no field “nom”.",
        mapping={"Wer": "nom"},
    ),
    text(
        "a mapped column that does not exist",
        "name\nNew\n",
        "refused: line 1: There is no column “Firma”. The columns are: name.",
        mapping={"Firma": "name"},
    ),
    text(
        "two columns for one field",
        "name;Firma\nNew;Other\n",
        "refused: line 1, column “Firma”: This column and column “name” both contain",
    ),
    text(
        "two columns for one field, one of them chosen",
        "name;Firma\nx;New\n",
        "1 new",
        mapping={"Firma": "name"},
    ),
    text("unknown columns", "name;Farbe;\nNew;rot;1\n", "1 new"),
    text(
        "shifted columns",
        "name;phone;email\nNew;1\n",
        "refused: line 2: The header and this line have different numbers of cells: 3",
    ),
    text(
        "a comma too many",
        "name,phone,email\nNew, Inc.,1,a@b.de\n",
        "refused: line 2: The header and this line have different numbers of cells: 3",
    ),
    text(
        "an open quotation mark",
        'name,phone\n"New,1\n',
        "refused: line 2: A quotation mark in this line opens a cell that is never",
    ),
    text(
        "a quotation mark inside a cell",
        'name,phone\n"New "X" Inc.",1\n',
        "refused: line 2: In this line, text follows a cell in quotation marks.",
    ),
    text(
        "a long name",
        f"name\n{'x' * 300}\n",
        f"refused: line 2, column “name”, “{'x' * 60}…”: Ensure this value has at most",
    ),
]

BLANKS = [
    text("blank cells", "reference,name,phone,notes\nR1,,,\n", "1 unchanged"),
    text(
        "blank cells that empty",
        "reference,name,phone,notes\nR1,,,\n",
        "1 changed, 1 emptied",
        clear_blank=["phone"],
    ),
    text(
        "blank and empty already",
        "reference,name,website\n00042,Zero,\n",
        "1 unchanged",
        clear_blank=["website"],
    ),
    text(
        "a field without a column cannot be emptied",
        "reference,name\nR1,\n",
        "refused: The file has no column for “phone”",
        clear_blank=["phone"],
    ),
    text(
        "names cannot be emptied",
        "reference,name\nR1,\n",
        "refused: The field “name” cannot be emptied.",
        clear_blank=["name"],
    ),
    text(
        "a new row without a name",
        "reference,name\nR9,\n",
        "refused: line 2, column “name”: This field cannot be blank.",
    ),
    text(
        "an export of a reviewer",
        "id,id_key,name,reference,website,email,phone,address\n"
        "<R1>,Acme,R1,,,030 1234567,\n",
        "1 unchanged",
    ),
]

SUSPICIOUS = [
    text("scientific phone", "name;phone\nNew;4,91512E+11\n", "1 new, damaged number"),
    text(
        "scientific phone over a good one",
        "reference,name,phone\nR1,Acme,4.91512E+11\n",
        "1 changed, damaged number",
    ),
    book(
        "large number",
        [["name", "tax_id"], ["New", 1.23457e22]],
        "1 new, damaged number",
    ),
    text(
        "damaged as it is stored",
        "reference,name,phone\nR4,NULL,4.91512E+11\n",
        "1 unchanged",
    ),
    book(
        "errors of formulas in a workbook",
        [["name", "phone"], ["New", FormulaError("#N/A")], ["Other", "1"]],
        "2 new, no value",
    ),
    book(
        "errors of formulas beside empty columns",
        [{}, {"C2": "name", "D2": "phone"}, {"C3": "New", "D3": FormulaError("#REF!")}],
        "1 new, no value",
    ),
    Case(
        "errors in another sheet",
        make_workbook(
            {"A & B": [["name"], ["New"]], "C": [["name"], [FormulaError("#N/A")]]}
        ),
        "1 new",
    ),
    text("error of Excel", "name,phone\nNew,#N/A\n", "1 new, no value"),
    text("German error", "name;phone\nNew;#BEZUG!\n", "1 new, no value"),
    text("too narrow a column", "name;phone\nNew;########\n", "1 new, no value"),
    text("NULL", "name,notes\nNew,NULL\n", "1 new, no value"),
    text("a name that is NULL", "name\nnull\n", "1 new, no value, possible duplicate"),
    text("date as a name", "name\n2026-03-04\n", "1 new, date"),
    text("day and month as a name", "name\n04. Mrz\n4-Mar\n", "2 new, date, date"),
    book("a day as a name", [["name"], [date(2026, 3, 4)]], "1 new, date"),
    book(
        "a day as a reference",
        [["reference", "name"], [date(2026, 3, 4), "New"]],
        "1 new, date",
    ),
    book("a day in notes", [["name", "notes"], ["New", date(2026, 3, 4)]], "1 new"),
    text("garbled", "name\nBÃ¼ro\n", "1 new, garbled"),
    text("garbled marks", "name,notes\nNew,itâ€™s\n", "1 new, garbled"),
    text("garbled on a Mac", "name\nB√ºro\n", "1 new, garbled"),
    text("lost letters", "name\nB\ufffdro\n", "1 new, garbled"),
    text("not garbled", "name\nÇa «Été» Øl Ärger ÅÄÖ\n", "1 new"),
    text(
        "lost zeros",
        "reference,name,phone\nR1,Acme,301234567\n",
        "1 changed, lost zeros",
    ),
    text("lost zeros of a reference", "reference,name\n42,Nil\n", "1 new, lost zeros"),
    text("zeros too many", "reference,name\n000042,Nil\n", "1 new, lost zeros"),
    text("other digits", "reference,name\n43,Nil\n", "1 new"),
    text(
        "far longer",
        f"reference,name,notes\nR1,Acme,{'long ' * 50}\n",
        "1 changed, far longer",
    ),
    text("two addresses", "name,email\nNew,a@b.de; c@d.de\n", "1 new, two addresses"),
    text(
        "no address",
        "name,email\nNew,info at b.de\n",
        "refused: line 2, column “email”",
    ),
    text(
        "invisible characters in a key",
        "reference,name\nR\u200b1,Acme\n",
        "1 unchanged",
    ),
    text("invisible characters", "name\nN\u200bew\n", "1 new, invisible characters"),
    text("text formula", 'name,phone\nNew,"=""030 1"""\n', "1 new"),
    text("text formula without quotes", 'name;phone\nNew;="030 1"\n', "1 new"),
    text("total", "name;reference\nNew;R9\nSumme;2\n", "1 new, 1 skipped"),
    text("total at the right", "name;phone\nNew;1\n;Total: 12\n", "1 new, 1 skipped"),
    text("French total", "Nom;Notes\nNew;1\nTotal général;2\n", "1 new, 1 skipped"),
    text("kept total", "name;notes\nTotal;2\n", "1 new", keeps_totals=True),
    text("a company named Total", "name;address\nTotal;Paris\n", "1 new"),
    text("repeated header", "name;phone\nNew;1\nName;Phone\nX;2\n", "2 new, 1 skipped"),
]

MATCHING = [
    text("by reference", "reference,name,phone\nR1,Acme,7\n", "1 changed"),
    text("another spelling of blanks", "reference,name\n R1 ,Acme\n", "1 unchanged"),
    text("by ID and key", "id,id_key,name\n<R1>,Acme Ltd\n", "1 changed"),
    text("ID of another system", "id,name\n1,Stranger\n2,Other\n", "2 new"),
    text(
        "ID with the key of another",
        "id,id_key,name\n1,abcdefabcdef,Stranger\n",
        "refused: line 2, column “id”, “1”: This ID does not belong to the “id_key”",
    ),
    text(
        "ID without its key",
        "id,id_key,name\n1,,Stranger\n",
        "refused: line 2, column “id”, “1”: This ID does not belong to the “id_key”",
    ),
    text(
        "new rows in an export",
        "id,id_key,name\n<R1>,Acme\n,,New\n",
        "1 new, 1 unchanged",
    ),
    text("the same name", "name,phone\nacme,7\n", "1 new, possible duplicate"),
    text("a name that looks the same", "name\nАcme\n", "1 new, possible duplicate"),
    text(
        "similar name and domain",
        "name,email\nZero GmbH,sales@zero.example\n",
        "1 new, possible duplicate",
    ),
    text("same domain only", "name,email\nBakery,b@zero.example\n", "1 new"),
    text("same tax ID", "name,tax_id\nWidgets,DE1\n", "1 new, possible duplicate"),
    text("matched by name", "name,phone\nACME,7\n", "1 changed", matches_names=True),
    text("new by name", "name,phone\nNew,7\n", "1 new", matches_names=True),
    text(
        "matched by name twice",
        "name,phone\nAcme,7\nAcme,8\n",
        "refused: line 3: Line 2 already changes this organization",
        matches_names=True,
    ),
    text(
        "the same reference twice",
        "reference,name\nR8,New\nR8,Other\n",
        "refused: line 3, column “reference”, “R8”: Line 2 already has this reference.",
    ),
    text("empty key column", "reference,name\n,New\n,Other\n", "2 new"),
    text(
        "no last day",
        "reference,name,admins\nR1,Acme,a@b.example until\n",
        "refused: line 2, column “admins”, “a@b.example until”: Write “until” be",
    ),
    text(
        "last day in German",
        "reference,name,admins\nR1,Acme,a@b.example until 31.12.2990\n",
        "refused: line 2, column “admins”, “31.12.2990”: This is not a da",
    ),
    text(
        "last day that has passed",
        "reference,name,reviewers\nR1,Acme,a@b.example until 2020-02-29\n",
        "refused: line 2, column “reviewers”, “2020-02-29”: This day has passed.",
    ),
]


def list_office_files():
    """Yield the files that LibreOffice saved, and what each of them does."""
    for path in sorted(OFFICE.glob("*")):
        outcome = "2 new"
        if "password" in path.name:
            outcome = "refused: This workbook is protected with a password."
        yield Case(f"office {path.name}", path.read_bytes(), outcome)


CASES = [
    *FORMATS,
    *COLUMNS,
    *BLANKS,
    *SUSPICIOUS,
    *MATCHING,
    *list_office_files(),
]
