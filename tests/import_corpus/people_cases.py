"""The table of files of people, and what importing each of them does.

Before each import, there are the organizations and people that `STORED` and `PEOPLE`
list. What an import does is written as `describe_numbers()` in
tests/test_import_people_corpus.py puts it.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from orgadmin.records.imports.options import DEFAULTS, ImportOptions
from tests.import_corpus.workbook_files import FormulaError, make_workbook

OFFICE_PEOPLE = Path(__file__).parent / "office_people"

# {reference: name}
STORED = {
    "R1": "Acme",
    "R2": "Bäcker & Söhne, Café Élan",
    "00042": "Zero",
    "R3": "Vault",
    "T1": "Twin",
    "T2": "Twin",
}
ARCHIVED = "R3"

# {username: (references of organizations with the role "admin", and "reviewer")}.
# Everyone has an address at example.com.
PEOPLE = {
    "boss": (["R1"], []),
    "ben": (["R2"], []),
    "carla": (["R2"], []),
    "mary": ([], ["R1"]),
    "gone": ([], ["R1"]),
    "staff": ([], []),
    "root": ([], []),
}
DEACTIVATED = "gone"

# The last day of Mary's role.
STORED_DAY = date(2990, 6, 30)

HEADER = "email,reference,role\n"
WITH_END = "email,reference,role,until\n"
BY_NAME = ImportOptions(matches_names=True)


@dataclass(frozen=True)
class PeopleCase:
    name: str
    content: bytes
    outcome: str
    options: ImportOptions = DEFAULTS
    send_mail: bool = False


def text(name, content, outcome, saved_as="utf-8", *, send_mail=False, **options):
    return PeopleCase(
        name, content.encode(saved_as), outcome, ImportOptions(**options), send_mail
    )


def book(name, rows, outcome, **options):
    content = make_workbook({"Sheet1": rows})
    return PeopleCase(name, content, outcome, ImportOptions(**options))


def row(name, cells, outcome, **options):
    """Return a case of one row with an address, a reference and a role."""
    return text(name, f"{HEADER}{cells}\n", outcome, **options)


def end(name, cell, outcome):
    """Return a case of one row that gives Mary a role with an end."""
    return text(name, f'{WITH_END}mary@example.com,R2,reviewer,"{cell}"\n', outcome)


def make_table(delimiter):
    rows = [
        ["E-Mail", "Kundennr.", "Firma", "Rolle"],
        ["mary@example.com", "R2", STORED["R2"], "Prüferin"],
        ["carla@example.com", "R1", "Acme", "Prüfer"],
    ]
    return "".join(delimiter.join(cells) + "\r\n" for cells in rows)


def list_encodings():
    """Yield a file for each encoding and separator."""
    encodings = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "mac_roman", "utf-16-le")
    for encoding in encodings:
        for delimiter in (";", "\t", "|"):
            name = f"{encoding} {delimiter!r}"
            yield text(name, make_table(delimiter), "2 roles", encoding)


FORMATS = [
    *list_encodings(),
    text(
        "sep line",
        "sep=^\nemail^reference^role\nmary@example.com^R2^admin\n",
        "1 roles",
    ),
    text(
        "blank lines and separators at line ends",
        "\n\nemail;reference;role\n;;\nmary@example.com;R2;admin;;\n",
        "1 roles",
    ),
    book(
        "workbook with a title",
        [
            ["Zugriffe 2026"],
            [],
            ["E-Mail", "Kundennummer", "Rolle"],
            ["mary@example.com", "R2", "Leser"],
        ],
        "1 roles, 1 skipped",
    ),
    PeopleCase(
        "sheet by name",
        make_workbook(
            {
                "Notes": [["Ask Mary"]],
                "Roles": [
                    ["Mail", "Reference", "Role"],
                    ["mary@example.com", "R2", "admin"],
                ],
            }
        ),
        "1 roles",
        ImportOptions(sheet="roles"),
    ),
    PeopleCase("PDF", b"%PDF-1.7\n", "refused: This file is a PDF, not a table."),
    text("vCard", "BEGIN:VCARD\nFN:A\n", "refused: This file is a vCard"),
    PeopleCase("no content", b"", "refused: The file has no header line."),
    row(
        "an open quotation mark", '"mary@example.com,R2,admin', "refused: line 2: A quo"
    ),
    row(
        "a missing separator", "mary@example.com,R2", "refused: line 2: The header and"
    ),
]

COLUMNS = [
    text(
        "German titles",
        "E-Mail-Adresse;Kd.-Nr.;Zugriff;Gültig bis\nmary@example.com;R2;Leser;\n",
        "1 roles",
    ),
    text(
        "French titles",
        "Adresse e-mail;N° client;Rôle;Date de fin\nmary@example.com;R2;lecteur;\n",
        "1 roles",
    ),
    text(
        "HubSpot contacts have no roles",
        "First Name,Last Name,Email,Company name\nMary,Miller,mary@example.com,Acme\n",
        "refused: line 1: There is no column “role”.",
    ),
    text(
        "Google contacts have no roles",
        "First Name,Last Name,Organization Name,E-mail 1 - Value\nM,M,A,m@x.example\n",
        "refused: line 1: There is no column “role”.",
    ),
    text(
        "no column of addresses",
        "name,reference,role\nMary,R2,admin\n",
        "refused: line 1: There is no column “email”.",
    ),
    text(
        "no column of organizations",
        "email,role\nmary@example.com,admin\n",
        "refused: line 1: No column says which organization a role is in.",
    ),
    text(
        "a file of organizations",
        "name,reference,email,admins\nNew,R9,a@example.com,mary@example.com\n",
        "refused: line 1: This is a file of organizations, not of people.",
    ),
    text(
        "two columns of addresses",
        "email,E-Mail,reference,role\na@example.com,b@example.com,R2,admin\n",
        "refused: line 1, column “E-Mail”: This column and column “email” both contain",
    ),
    text(
        "columns that nobody needs",
        "email,phone,reference,role\nmary@example.com,1,R2,admin\n",
        "1 roles",
    ),
]

ADDRESSES = [
    row("capital letters", "MARY@Example.COM,R2,admin", "1 roles"),
    row("invisible characters", "mary\u200b@example.com\ufeff,R2,admin", "1 roles"),
    row("an address with a name", "Mary <mary@example.com>,R2,admin", "1 roles"),
    row("a link to an address", "mailto:mary@example.com,R2,admin", "1 roles"),
    row("spaces around an address", " mary@example.com ,R2,admin", "1 roles"),
    row(
        "two addresses",
        "mary@example.com; ben@example.com,R1,admin",
        "refused: line 2, column “email”, “mary@example.com; ben@example.com”: The c",
    ),
    row(
        "no sign", "mary at example.com,R1,admin", "refused: line 2, column “email”, “m"
    ),
    row(
        "no domain",
        "mary@,R1,admin",
        "refused: line 2, column “email”, “mary@”: Enter a valid email address.",
    ),
    text(
        "a comma in an address",
        "email;reference;role\nmary@example,com;R1;admin\n",
        "refused: line 2, column “email”, “mary@example,com”: Enter a valid email addr",
    ),
    row(
        "no address",
        ",R1,admin",
        "refused: line 2, column “email”: Enter the email address",
    ),
    book(
        "an error of a formula",
        [["email", "reference", "role"], [FormulaError("#N/A"), "R1", "admin"]],
        "refused: line 2, column “email”, “#N/A”: Enter a valid email address.",
    ),
    row(
        "an unknown address",
        "new@example.com,R1,admin",
        "refused: line 2, column “email”, “new@example.com”: Nobody has this email add",
    ),
    row(
        "an unknown address is invited",
        "new@example.com,R1,admin",
        "1 invited",
        send_mail=True,
    ),
    row(
        "an unknown address without a role",
        "new@example.com,,",
        "refused: line 2, column “email”, “new@example.com”: Nobody has this email add",
    ),
]

ORGANIZATIONS = [
    row(
        "an unknown organization",
        "mary@example.com,R9,admin",
        "refused: line 2, column “reference”, “R9”: No organization has this refere",
    ),
    row(
        "lost zeros",
        "mary@example.com,42,admin",
        "refused: line 2, column “reference”, “42”: No organization has this reference,"
        " but one has “00042”.",
    ),
    book(
        "a number that has lost its zeros",
        [["email", "reference", "role"], ["mary@example.com", 42, "admin"]],
        "refused: line 2, column “reference”, “42”: No organization has this refere",
    ),
    row(
        "invisible characters in a reference",
        "mary@example.com,R\u200b2,admin",
        "1 roles",
    ),
    row(
        "a shortened number",
        "mary@example.com,1.23457E+11,admin",
        "refused: line 2, column “reference”, “1.23457E+11”: No organization has this",
    ),
    row(
        "no organization",
        "mary@example.com,,admin",
        "refused: line 2, column “reference”: Enter the reference of the organization.",
    ),
    row(
        "an archived organization",
        "mary@example.com,R3,admin",
        "refused: line 2, column “reference”, “R3”: This organization is archived: ID",
    ),
    text(
        "another name than the reference",
        "email,reference,organization,role\nmary@example.com,R2,Acme,admin\n",
        "1 roles, other organization",
    ),
    text(
        "a name without a key",
        "email,organization,role\nmary@example.com,Zero,admin\n",
        "refused: line 2, column “organization”, “Zero”: The row has no reference.",
    ),
    text(
        "a name that may be a key",
        "email;Firma;Rolle\nmary@example.com;ZERO;Admin\n",
        "1 roles",
        matches_names=True,
    ),
    text(
        "invisible characters in a name",
        "email;Firma;Rolle\nmary@example.com;Ze\u200bro;Admin\n",
        "1 roles",
        matches_names=True,
    ),
    text(
        "a name of several",
        "email,Company,role\nmary@example.com,Twin,admin\n",
        "refused: line 2, column “Company”, “Twin”: 2 organizations have this name.",
        matches_names=True,
    ),
    text(
        "an unknown name",
        "email,Company,role\nmary@example.com,Nobody,admin\n",
        "refused: line 2, column “Company”, “Nobody”: There is no organization with th",
        matches_names=True,
    ),
    text(
        "an ID and its key",
        "email,organization_id,organization_id_key,role\nmary@example.com,<R2>,admin\n",
        "1 roles",
    ),
    text(
        "an ID with another key",
        "email,organization_id,organization_id_key,role\n"
        "mary@example.com,1,abcdefabcdef,admin\n",
        "refused: line 2, column “organization_id”, “1”: This ID does not belong to",
    ),
]

ROLES = [
    row("German", "mary@example.com,R2,Administratorin", "1 roles"),
    row("French", "mary@example.com,R2,Réviseuse", "1 roles"),
    row("invisible characters in a role", "mary@example.com,R2,ad\u200bmin", "1 roles"),
    row(
        "an unknown role",
        "mary@example.com,R2,guest",
        "refused: line 2, column “role”, “guest”: There is no such role. Enter “admin”",
    ),
    row(
        "two roles",
        "mary@example.com,R2,admin/reviewer",
        "refused: line 2, column “role”, “admin/reviewer”: There is no such role.",
    ),
    row(
        "no role",
        "mary@example.com,R2,",
        "refused: line 2, column “role”: Enter the role",
    ),
    row("the role that the person has", "mary@example.com,R1,reviewer", "1 unchanged"),
    row("more", "mary@example.com,R1,admin", "1 roles"),
    row(
        "a reviewer who is admin",
        "ben@example.com,R2,reviewer",
        "1 roles, loses a role",
    ),
    row(
        "the last admin",
        "boss@example.com,R1,reviewer",
        "refused: line 2, column “role”, “boss@example.com”: “Acme” would be left",
    ),
    row(
        "all admins",
        "ben@example.com,R2,reviewer\ncarla@example.com,R2,reviewer",
        "refused: line 2, column “role”, “ben@example.com”: “Bäcker",
    ),
    row(
        "the last admin, and then another",
        "boss@example.com,R1,reviewer\ncarla@example.com,R1,admin",
        "2 roles, loses a role",
    ),
]

ENDS = [
    end("a day", "2990-12-31", "1 roles"),
    end("a German day", "31.12.2990", "1 roles"),
    end("a German day without zeros", "1.2.2990", "1 roles"),
    end("a German day with a short year", "31.12.98", "1 roles"),
    end("a British day", "31/12/2990", "1 roles"),
    end("an American day", "12/31/2990", "1 roles"),
    end("an American day with a short year", "12/31/98", "1 roles"),
    end("day and month are the same", "5/5/2990", "1 roles"),
    end("a day at midnight", "2990-12-31 00:00:00", "1 roles"),
    end("a German day at midnight", "31.12.2990 00:00", "1 roles"),
    end("invisible characters in a day", "2990-12-31\u200e", "1 roles"),
    end(
        "either number can be the month",
        "05/06/2990",
        "refused: line 2, column “until”, “05/06/2990”: Either number can be",
    ),
    end(
        "no day of the calendar",
        "31.2.2990",
        "refused: line 2, column “until”, “2990-02-31”: This is not a date.",
    ),
    end(
        "words",
        "end of 2990",
        "refused: line 2, column “until”, “end of 2990”: This is",
    ),
    end(
        "a number",
        "398331",
        "refused: line 2, column “until”, “398331”: This is not a d",
    ),
    end(
        "passed",
        "2020-02-29",
        "refused: line 2, column “until”, “2020-02-29”: This day",
    ),
    end(
        "too far",
        "9999-12-31",
        "refused: line 2, column “until”, “9999-12-31”: This day",
    ),
    end("no end", "unbefristet", "1 roles"),
    book(
        "a real date of Excel",
        [
            ["email", "reference", "role", "until"],
            ["mary@example.com", "R2", "reviewer", date(2990, 12, 31)],
        ],
        "1 roles",
    ),
    book(
        "a real date of Excel that has passed",
        [
            ["email", "reference", "role", "until"],
            ["mary@example.com", "R2", "reviewer", date(2020, 2, 29)],
        ],
        "refused: line 2, column “until”, “2020-02-29”: This day has passed.",
    ),
    book(
        "the same day as now",
        [
            ["email", "reference", "role", "until"],
            ["mary@example.com", "R1", "reviewer", STORED_DAY],
        ],
        "1 unchanged",
    ),
    text(
        "another day than now",
        f"{WITH_END}mary@example.com,R1,reviewer,2990-07-01\n",
        "1 ends",
    ),
    text(
        "an empty day keeps the end",
        f"{WITH_END}mary@example.com,R1,reviewer,\n",
        "1 unchanged",
    ),
    text(
        "the end is removed",
        f"{WITH_END}mary@example.com,R1,reviewer,none\n",
        "1 ends",
    ),
]

ROWS = [
    row("a person of another organization", "carla@example.com,R1,admin", "1 roles"),
    row("a staff account", "staff@example.com,R1,reviewer", "1 roles"),
    row("a superuser", "root@example.com,R1,reviewer", "1 roles"),
    row(
        "a deactivated person",
        "gone@example.com,R1,admin",
        "refused: line 2, column “email”, “gone@example.com”: The account of this pers",
    ),
    row(
        "a deactivated person as they are",
        "gone@example.com,R1,reviewer",
        "1 unchanged",
    ),
    row(
        "a person twice",
        "mary@example.com,R2,admin\nMary@example.com,R2,admin",
        "1 roles, 1 unchanged",
    ),
    row(
        "a person with two roles",
        "mary@example.com,R2,admin\nmary@example.com,R2,reviewer",
        "refused: line 3, column “email”, “mary@example.com”: Line 2 gives this person",
    ),
    row(
        "a person in two organizations",
        "mary@example.com,R2,admin\nmary@example.com,00042,reviewer",
        "2 roles",
    ),
    text(
        "another name than the account",
        "email,reference,role,Nachname\nmary@example.com,R2,admin,Müller\n",
        "1 roles, other name",
    ),
    text(
        "a garbled name",
        "email,reference,role,Name\nmary@example.com,R2,admin,Mary MÃ¼ller\n",
        "1 roles, other name",
    ),
    row("a total", "mary@example.com,R2,admin\nTotal,,1", "1 roles, 1 skipped"),
    row(
        "a German total at the right",
        "mary@example.com,R2,admin\n,,Summe: 1",
        "1 roles, 1 skipped",
    ),
    row(
        "a total that is kept",
        "mary@example.com,R2,admin\nTotal,,1",
        "refused: line 3, column “email”, “Total”: Enter a valid email address.",
        keeps_totals=True,
    ),
    row(
        "a repeated header",
        "mary@example.com,R2,admin\nEmail,Reference,Role\ncarla@example.com,R1,admin",
        "2 roles, 1 skipped",
    ),
    row(
        "the example of the template",
        "mary@example.com (this row is not imported),00042,reviewer\n"
        "mary@example.com,R2,admin",
        "1 roles, 1 skipped",
    ),
    row("only a person", "mary@example.com,,", "1 unchanged"),
]


def list_office_files():
    """Yield the files with a day that LibreOffice saved."""
    for path in sorted(OFFICE_PEOPLE.glob("*")):
        yield PeopleCase(f"office {path.name}", path.read_bytes(), "2 roles")


CASES = [
    *FORMATS,
    *COLUMNS,
    *ADDRESSES,
    *ORGANIZATIONS,
    *ROLES,
    *ENDS,
    *ROWS,
    *list_office_files(),
]
