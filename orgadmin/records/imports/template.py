"""The templates: workbooks for people to fill in, with an explanation of the columns.

A template has an example row. The import recognizes its name or email address, and
skips it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, cast

from django.conf import settings
from django.http import FileResponse
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy
from xlsxwriter import Workbook

from orgadmin.records.columns import FIELDS, ROLE_COLUMNS, UNTIL
from orgadmin.records.xlsx_files import respond_with_file, write_sheet

EXAMPLE_NAME = gettext_lazy("Example company (this row is not imported)")
EXAMPLE_EMAIL = gettext_lazy("mary@example.com (this row is not imported)")

# The columns by which the example row is recognized
EXAMPLE_COLUMNS = ("name", "email")


@dataclass(frozen=True)
class ImportTemplate:
    """The content of a template. The texts are in the language of the reader."""

    file_name: Promise
    sheet_name: Promise
    columns: Sequence[str]
    explanations: Mapping[str, Promise]  # {column: what it contains}
    example: Mapping[str, str | Promise]  # {column: its cell in the example row}
    notes: Sequence[Promise]  # further explanations

    def list_example(self) -> list[str]:
        return [str(self.example.get(column, "")) for column in self.columns]

    def explain(self) -> list[list[str]]:
        """Return the rows of the sheet that explains the columns."""
        rows = [[_("Column"), _("What it contains")]]
        for column in self.columns:
            rows.append([column, str(self.explanations[column])])
        for text in self.notes:
            rows.append(["", str(text)])
        return rows


ORGANIZATIONS = ImportTemplate(
    file_name=gettext_lazy("import-template"),
    sheet_name=gettext_lazy("Organizations"),
    columns=(*FIELDS, *ROLE_COLUMNS),
    explanations={
        "name": gettext_lazy("The name of the organization. The only required column."),
        "reference": gettext_lazy(
            "The number of the organization in another system, such as a customer"
            " number. A row changes the organization that has its reference. Any other"
            " row creates an organization."
        ),
        "website": gettext_lazy("The address of the website."),
        "email": gettext_lazy("One email address."),
        "phone": gettext_lazy("One phone number, with the country or area code."),
        "address": gettext_lazy("The postal address. It can have several lines."),
        "tax_id": gettext_lazy(
            "The tax ID. Only admins and platform staff can see it."
        ),
        "notes": gettext_lazy("Notes. Only admins and platform staff can see them."),
        "admins": gettext_lazy(
            "Email addresses of people who become admins, separated by semicolons. To"
            " say when access ends, write “until” and the last day after an address."
        ),
        "reviewers": gettext_lazy("The same for people who become reviewers."),
    },
    example={
        "name": EXAMPLE_NAME,
        "reference": "00042",
        "website": "https://example.com",
        "email": "info@example.com",
        "phone": "+49 30 123456",
        "address": "Example Street 1\n12345 Berlin",
        "tax_id": "DE123456789",
        "admins": f"mary@example.com; ben@example.com {UNTIL} 2030-12-31",
    },
    notes=(
        gettext_lazy(
            "Enter one organization in each row of the first sheet. You can leave"
            " cells empty and delete columns that you do not need."
        ),
        gettext_lazy("An empty cell keeps what is there."),
        gettext_lazy(
            "The import skips the example row as long as you keep its name. You can"
            " also delete or overwrite the row."
        ),
    ),
)

PEOPLE = ImportTemplate(
    file_name=gettext_lazy("import-template-people"),
    sheet_name=gettext_lazy("People"),
    columns=("email", "reference", "organization", "role", "until"),
    explanations={
        "email": gettext_lazy("The email address of the person. Required."),
        "reference": gettext_lazy(
            "The reference of the organization in which the person gets a role. If the"
            " organizations have none, delete the column, and tick “Match organizations"
            " by name” when you upload the file."
        ),
        "organization": gettext_lazy(
            "The name of the organization. If there is also a reference, the import"
            " only checks that the name matches."
        ),
        "role": gettext_lazy("“admin” or “reviewer”. Required."),
        "until": gettext_lazy(
            "The last day of access, such as 2030-12-31. Write “none” to remove the"
            " last day that a person has."
        ),
    },
    example={
        "email": EXAMPLE_EMAIL,
        "reference": "00042",
        "organization": gettext_lazy("Example company"),
        "role": "reviewer",
        "until": "2030-12-31",
    },
    notes=(
        gettext_lazy(
            "Enter one role in each row of the first sheet. A person with roles in"
            " several organizations has several rows."
        ),
        gettext_lazy(
            "A role replaces the one that the person has in the organization. Roles"
            " that are not in the file stay as they are."
        ),
        gettext_lazy("An empty cell keeps what is there."),
        gettext_lazy(
            "The import skips the example row as long as you keep its address. You can"
            " also delete or overwrite the row."
        ),
    ),
)


@cache
def list_example_names() -> frozenset[str]:
    """Return the names and addresses of the example rows in all languages.

    People may send a template to someone who uses another language.
    """
    names = set()
    for language, _label in settings.LANGUAGES:
        with translation.override(language):
            names.add(str(EXAMPLE_NAME))
            names.add(str(EXAMPLE_EMAIL))
    return frozenset(names)


def is_example(cells: Sequence[str], positions: Mapping[str, int]) -> bool:
    """Return whether a row is the example row of a template.

    `positions` are {column: index}.
    """
    for column in EXAMPLE_COLUMNS:
        position = positions.get(column, len(cells))
        if position < len(cells) and cells[position] in list_example_names():
            return True
    return False


def write_template(file: BinaryIO, template: ImportTemplate) -> None:
    """Write a template, in the language of the reader."""
    with tempfile.TemporaryDirectory() as folder:
        workbook = Workbook(file, {"constant_memory": True, "tmpdir": folder})
        rows = workbook.add_worksheet(str(template.sheet_name))
        write_sheet(workbook, rows, [template.columns, template.list_example()])
        explanation = workbook.add_worksheet(_("Explanation"))
        write_sheet(workbook, explanation, template.explain(), is_wrapped=True)
        workbook.close()


def respond_with_template(template: ImportTemplate) -> FileResponse:
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    write_template(file, template)
    return respond_with_file(file, str(template.file_name))
