import io
import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from orgadmin.management.arguments import find_user
from orgadmin.management.output import EscapedCommand
from orgadmin.records.batches import BATCH
from orgadmin.records.csv_files import write_csv
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import (
    CLEARABLE,
    ImportReport,
    import_organizations,
    list_rejected,
    record_refusal,
)
from orgadmin.records.imports.preview import RowPreview
from orgadmin.records.imports.problems import (
    ImportProblem,
    ImportRefused,
    WarningsRefused,
)
from orgadmin.records.imports.text_encoding import ENCODINGS, find_by_name

# On a terminal, progress is reported after each batch. In a log, it is reported each
# time this many lines were read.
LINES_BETWEEN_REPORTS = 100_000

# The number of problems that are printed. Further problems are only counted.
MAX_PROBLEMS = 500


def open_file(file: str | Path) -> AbstractContextManager[BinaryIO]:
    """Open a file, or standard input if `file` is "-".

    Standard input allows root to import a file that the service's user cannot open.
    """
    if str(file) == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    if Path(file).is_fifo():
        # A pipe can only be read once, but an import reads its file several times.
        return io.BytesIO(Path(file).read_bytes())
    return open(file, "rb")


class ImportCommand(EscapedCommand):
    """The base class of the commands that import a file."""

    # The columns that each file must have, for the help text.
    required = ""

    def import_file(self, stream: BinaryIO, **settings: Any) -> ImportReport:
        raise NotImplementedError

    def print_result(self, report: ImportReport, would_be: str) -> None:
        """Print the numbers of imported rows.

        `would_be` is "would be " in a dry run, and "" otherwise.
        """
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            metavar="FILE",
            help=f".xlsx, .xls, .ods or CSV, with a header line and {self.required};"
            " “-” is standard input",
        )
        parser.add_argument(
            "--as",
            dest="actor",
            metavar="USER",
            help="import as this person, with their permissions",
        )
        parser.add_argument(
            "--send-mail",
            action="store_true",
            help="notify people, and invite those who have no account",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="print what would happen, and change nothing",
        )
        parser.add_argument(
            "--accept-warnings",
            action="store_true",
            help="also import rows with warnings, such as damaged numbers",
        )
        parser.add_argument(
            "--partial",
            metavar="REST",
            help="import the rows without problems, and write the others to the CSV"
            " file REST, with a column “Problem”",
        )
        self._add_reading_arguments(parser)

    def _add_reading_arguments(self, parser: CommandParser) -> None:
        """Add the arguments that control how the file is read."""
        parser.add_argument(
            "--encoding",
            metavar="NAME",
            help="the encoding of a CSV file, such as cp1252 (default: find out)",
        )
        parser.add_argument(
            "--sheet",
            default="",
            metavar="NAME",
            help="the name or number of the sheet (default: the first with text)",
        )
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="TITLE=FIELD",
            help="what a column contains; without FIELD, it is not used",
        )
        parser.add_argument(
            "--match",
            choices=["name"],
            help="use the organization with the same name for rows without a key",
        )
        parser.add_argument(
            "--keep-totals",
            action="store_true",
            help="also import rows that look like totals or repeated headers",
        )

    def handle(
        self,
        *,
        file: str | Path,
        actor: str | None,
        dry_run: bool,
        send_mail: bool,
        partial: str | None = None,
        **options: Any,
    ) -> None:
        choices = read_options(options)
        choices = replace(choices, leaves_out_problems=partial is not None)
        try:
            report = self._import(
                file, actor, choices, dry_run=dry_run, send_mail=send_mail
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(
                f"{ascii(str(file))} cannot be read: {reason}."
            ) from error
        except WarningsRefused as error:
            self._print_problems(error.problems)
            raise CommandError(describe_warnings(len(error.problems))) from error
        except ImportRefused as error:
            self._print_problems(error.problems)
            raise CommandError(describe_refusal(error.problems)) from error
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise CommandError(
                f"Nothing was imported. The database failed: {reason}. Try again."
            ) from error
        self._print_report(report, dry_run=dry_run)
        if partial is not None and not dry_run:
            self._write_rest(report, partial)
        if report.needs_consent and not choices.accepts_warnings:
            refused = [each for each in report.warnings if each.needs_consent]
            raise CommandError(describe_warnings(len(refused)))

    def _import(
        self,
        file: str | Path,
        username: str | None,
        options: ImportOptions,
        *,
        dry_run: bool,
        send_mail: bool,
    ) -> ImportReport:
        """Open the file and import it.

        Raises `CommandError` if there is no such person, or if emails are to be sent
        and no person is given. Raises `ImportRefused`, and records this, except in a
        dry run.
        """
        # Without an actor, everything is allowed. An empty username is not the same as
        # no actor: it is looked up, and not found.
        actor = None if username is None else find_user(username, returncode=1)
        if send_mail and actor is None:
            raise CommandError("Use --as to say who sends the invitations.")
        try:
            with open_file(file) as stream:
                return self.import_file(
                    stream,
                    actor=actor,
                    options=options,
                    dry_run=dry_run,
                    send_mail=send_mail,
                    on_progress=self._print_progress,
                    on_row=self._print_row if dry_run else None,
                )
        except ImportRefused as error:
            if not dry_run:
                record_refusal(error, actor=actor)
            raise

    def _write_rest(self, report: ImportReport, path: str) -> None:
        """Write the rows with problems to a file, if there are any.

        Raises `CommandError` if the file cannot be written.
        """
        if not report.rejected:
            return
        rows = list_rejected(
            report.titles, (row.list_cells() for row in report.rejected)
        )
        try:
            with open(path, "w", encoding="utf-8-sig", newline="") as file:
                file.writelines(write_csv(rows))
        except OSError as error:
            raise CommandError(
                f"{ascii(path)} cannot be written: {error.strerror}. The rows with"
                " problems were not imported."
            ) from error
        self.stdout.write(f"Rows with problems are in {path}.")

    def _print_progress(self, lines: int) -> None:
        if self.stderr.isatty():
            # The carriage return makes the next number overwrite this one.
            self.stderr.write(f"{lines:,} lines read", ending="\r")
        elif lines % LINES_BETWEEN_REPORTS < BATCH:
            self.stderr.write(f"{lines:,} lines read")

    def _print_row(self, row: RowPreview) -> None:
        title = row.title
        if row.organization.pk is not None:
            # In a dry run, new organizations have no ID.
            title += f" (ID {row.organization.pk})"
        effects = "; ".join(row.effects)
        self.stdout.write(f"line {row.line}: {title}: {effects}")

    def _print_problems(self, problems: Sequence[ImportProblem]) -> None:
        for problem in problems[:MAX_PROBLEMS]:
            self.stderr.write(str(problem))
        more = len(problems) - MAX_PROBLEMS
        if more > 0:
            self.stderr.write(f"… and {more:,} more")

    def _print_report(self, report: ImportReport, *, dry_run: bool) -> None:
        self.stdout.write(f"Read as {report.format}.")
        for skipped in report.skipped[:MAX_PROBLEMS]:
            self.stdout.write(f"Skipped {skipped}.")
        for warning in report.warnings[:MAX_PROBLEMS]:
            self.stdout.write(f"Warning: {warning}")
            if warning.resembled is not None:
                target = f"{warning.line}={warning.resembled}"
                self.stdout.write(f"  To change that one, add --update {target}")
        if report.ignored:
            titles = ", ".join(report.ignored)
            self.stdout.write(f"Columns not used: {titles}.")
        would_be = "would be " if dry_run else ""
        self.print_result(report, would_be)
        self.stdout.write(
            f"People: {report.people:,} {would_be}given a role,"
            f" {report.invited:,} {would_be}invited."
        )
        if report.ends:
            self.stdout.write(f"Last days: {report.ends:,} {would_be}changed.")
        if report.rejected:
            self.stdout.write(
                f"Rows with problems: {len(report.rejected):,} {would_be}left out."
            )
        if dry_run:
            self.stdout.write("This was a dry run: nothing was changed.")


class Command(ImportCommand):
    help = (
        "Create and change organizations from a spreadsheet or a CSV file. If one line"
        " cannot be imported, nothing is changed, except with --partial."
    )
    required = "a column of names"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--update",
            action="append",
            default=[],
            type=parse_target,
            metavar="LINE=ID",
            help="change the organization with this ID from a line without a key, for"
            " example if a dry run reports a possible duplicate; can be repeated",
        )
        parser.add_argument(
            "--clear-blank",
            action="append",
            default=[],
            metavar="FIELD",
            choices=CLEARABLE,
            help="empty this field where its cell is empty (default: keep the value)",
        )

    def import_file(self, stream: BinaryIO, **settings: Any) -> ImportReport:
        return import_organizations(stream, **settings)

    def print_result(self, report: ImportReport, would_be: str) -> None:
        if report.has_foreign_ids:
            self.stdout.write(
                "The column “id” is not used, because there is no column “id_key”"
                " beside it, as in an export of this site."
            )
        if not report.has_key:
            self.stdout.write(
                "No line has an ID or a reference, so each line creates an"
                " organization. If you import the file again, it creates them again."
            )
        self.stdout.write(
            f"Organizations: {report.created:,} {would_be}created,"
            f" {report.changed:,} {would_be}changed, {report.unchanged:,} unchanged."
        )
        self.stdout.write(
            f"Values: {report.cleared:,} {would_be}emptied. Rows:"
            f" {len(report.skipped):,} skipped, {len(report.warnings):,} warnings."
        )


def read_options(options: dict[str, Any]) -> ImportOptions:
    """Return the options of the import from the arguments. Raises `CommandError`."""
    encoding = None
    if options["encoding"] is not None:
        encoding = find_by_name(options["encoding"])
        if encoding is None:
            name = ascii(options["encoding"])
            known = ", ".join(ENCODINGS.values())
            raise CommandError(f"There is no encoding {name}. Choose one of: {known}.")
    mapping = {}
    for pair in options["map"]:
        title, separator, name = pair.rpartition("=")
        if not separator or not title:
            raise CommandError(f"Write {ascii(pair)} as TITLE=FIELD.")
        mapping[title] = name
    return ImportOptions(
        encoding=encoding,
        sheet=options["sheet"],
        mapping=mapping,
        targets=dict(options.get("update", ())),
        clear_blank=options.get("clear_blank", ()),
        matches_names=options["match"] == "name",
        keeps_totals=options["keep_totals"],
        accepts_warnings=options["accept_warnings"],
    )


def parse_target(text: str) -> tuple[str, int]:
    """Return the line number, as text, and the ID of the organization to change.

    Raises `ArgumentTypeError`, whose message argparse prints.
    """
    line, separator, pk = text.partition("=")
    if not separator or not line.isdecimal() or not pk.isdecimal():
        raise ArgumentTypeError("write a line and an ID, such as 12=345")
    return str(int(line)), int(pk)


def describe_warnings(count: int) -> str:
    """Return the last line of output if an import was refused because of warnings."""
    warnings = "the warning" if count == 1 else f"the {count:,} warnings"
    return (
        f"Nothing was imported. Look at {warnings} above. To import these rows as they"
        " are, add --accept-warnings."
    )


def describe_refusal(problems: Sequence[ImportProblem]) -> str:
    """Return the last line of output if an import was refused because of problems."""
    if len(problems) == 1:
        return "Nothing was imported. Fix the problem above and try again."
    return (
        f"Nothing was imported. Fix the {len(problems):,} problems above and try again."
    )
