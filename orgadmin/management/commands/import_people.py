from typing import Any, BinaryIO

from orgadmin.management.commands.import_organizations import ImportCommand
from orgadmin.records.imports.organizations import ImportReport
from orgadmin.records.imports.people import import_people


class Command(ImportCommand):
    help = (
        "Give people roles in organizations, from a spreadsheet or a CSV file. If one"
        " line cannot be imported, nothing is changed, except with --partial."
    )
    required = "the columns “email”, “reference” (of the organization) and “role”"

    def import_file(self, stream: BinaryIO, **settings: Any) -> ImportReport:
        return import_people(stream, **settings)

    def print_result(self, report: ImportReport, would_be: str) -> None:
        if report.has_foreign_ids:
            self.stdout.write(
                "The column “organization_id” is not used, because there is no column"
                " “organization_id_key” beside it, as in an export of this site."
            )
        self.stdout.write(
            f"Rows: {report.unchanged:,} unchanged, {len(report.skipped):,} skipped,"
            f" {len(report.warnings):,} warnings."
        )
