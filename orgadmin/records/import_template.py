"""The template: an empty workbook for people to fill in, with an explanation.

Its example row has a name that the import recognizes, and skips.
"""

from __future__ import annotations

import tempfile
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

COLUMNS = (*FIELDS, *ROLE_COLUMNS)

EXAMPLE_NAME = gettext_lazy("Example company (this row is not imported)")

# {column: what it contains}
EXPLANATIONS: dict[str, str | Promise] = {
    "name": gettext_lazy("The name of the organization. The only required column."),
    "reference": gettext_lazy(
        "The number of the organization in another system, such as a customer number."
        " A row changes the organization that has its reference. Any other row creates"
        " an organization."
    ),
    "website": gettext_lazy("The address of the website."),
    "email": gettext_lazy("One email address."),
    "phone": gettext_lazy("One phone number, with the country or area code."),
    "address": gettext_lazy("The postal address. It can have several lines."),
    "tax_id": gettext_lazy("The tax ID. Only admins and platform staff can see it."),
    "notes": gettext_lazy("Notes. Only admins and platform staff can see them."),
    "admins": gettext_lazy(
        "Email addresses of people who become admins, separated by semicolons. To say"
        " when access ends, write “until” and the last day after an address."
    ),
    "reviewers": gettext_lazy("The same for people who become reviewers."),
}

EXAMPLES = {
    "reference": "00042",
    "website": "https://example.com",
    "email": "info@example.com",
    "phone": "+49 30 123456",
    "address": "Example Street 1\n12345 Berlin",
    "tax_id": "DE123456789",
    "admins": f"mary@example.com; ben@example.com {UNTIL} 2030-12-31",
}


@cache
def list_example_names() -> frozenset[str]:
    """Return the name of the example row in all languages.

    People may send a template to someone with another language.
    """
    names = set()
    for language, _label in settings.LANGUAGES:
        with translation.override(language):
            names.add(str(EXAMPLE_NAME))
    return frozenset(names)


def is_example(name: str) -> bool:
    """Return whether a row with this name is the example row of a template."""
    return name in list_example_names()


def write_template(file: BinaryIO) -> None:
    """Write the template, in the language of the reader."""
    with tempfile.TemporaryDirectory() as folder:
        workbook = Workbook(file, {"constant_memory": True, "tmpdir": folder})
        rows = workbook.add_worksheet(_("Organizations"))
        write_sheet(workbook, rows, [COLUMNS, list_example()])
        explanation = workbook.add_worksheet(_("Explanation"))
        write_sheet(workbook, explanation, explain(), is_wrapped=True)
        workbook.close()


def list_example() -> list[str]:
    examples = {**EXAMPLES, "name": str(EXAMPLE_NAME)}
    return [examples.get(column, "") for column in COLUMNS]


def explain() -> list[list[str]]:
    """Return the rows of the sheet that explains the columns."""
    rows = [[_("Column"), _("What it contains")]]
    for column in COLUMNS:
        rows.append([column, str(EXPLANATIONS[column])])
    for text in (
        _(
            "Enter one organization in each row of the first sheet. You can leave"
            " cells empty and delete columns that you do not need."
        ),
        _("An empty cell keeps what is there."),
        _(
            "The import skips the example row as long as you keep its name. You can"
            " also delete or overwrite the row."
        ),
    ):
        rows.append(["", text])
    return rows


def respond_with_template() -> FileResponse:
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    write_template(file)
    return respond_with_file(file, _("import-template"))
