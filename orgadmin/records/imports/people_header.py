"""Finding the header of a table of people."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext as _

from orgadmin.models import Import
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import TitleReader, list_titles
from orgadmin.records.imports.people_columns import (
    CHOOSABLE,
    COLUMNS,
    FOLDED_ORGANIZATION_TITLES,
    KNOWN_SECOND_TITLES,
    KNOWN_TITLES,
    fold_word,
)
from orgadmin.records.imports.problems import FileRefused, ImportProblem


class PeopleTitleReader(TitleReader):
    """Determines what the columns of a file of people contain."""

    columns = COLUMNS
    choosable = CHOOSABLE

    @staticmethod
    def fold(title: str) -> str:
        return fold_word(title)

    @staticmethod
    def find_known(title: str) -> str | None:
        return KNOWN_TITLES.get(fold_word(title))

    @staticmethod
    def find_second(title: str) -> str | None:
        return KNOWN_SECOND_TITLES.get(fold_word(title))

    def is_header(self, record: Record) -> bool:
        return any(self.find_field(title) == "email" for title in record.cells)

    def check(self, record: Record, found: Mapping[str, int]) -> None:
        """Raise `FileRefused` for a missing column, or for a file of organizations."""
        self._check_not_organizations(record, found)
        for name, message in explain_required().items():
            if name not in found:
                titles = list_titles(record)
                raise FileRefused(ImportProblem(message % titles, record.line))
        has_id = "id" in found and "id_key" in found
        if not has_id and "reference" not in found and "organization" not in found:
            message = _(
                "No column says which organization a role is in. The columns are: %s."
                " Change the title of the column with the references of the"
                " organizations to “reference”."
            )
            raise FileRefused(ImportProblem(message % list_titles(record), record.line))

    def _check_not_organizations(
        self, record: Record, found: Mapping[str, int]
    ) -> None:
        """Raise `FileRefused` for a file of organizations."""
        if "role" in found or "role" in self.chosen:
            return
        folded = {fold_word(title) for title in record.cells}
        if folded & FOLDED_ORGANIZATION_TITLES and "first_name" not in found:
            message = _(
                "This is a file of organizations, not of people. If each line is a"
                " person after all, add a column “role”."
            )
            raise FileRefused(
                ImportProblem(
                    message, record.line, subject=Import.Subject.ORGANIZATIONS
                )
            )


def explain_required() -> dict[str, str]:
    """Return {required column: message if it is missing}."""
    return {
        "email": _(
            "There is no column “email”. The columns are: %s. Change the title of the"
            " column that contains the email addresses to “email”."
        ),
        "role": _(
            "There is no column “role”. The columns are: %s. Add one, with “admin” or"
            " “reviewer” in each line."
        ),
    }
