import io
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from orgadmin.management.arguments import find_user
from orgadmin.management.output import EscapedCommand
from orgadmin.records.batches import BATCH
from orgadmin.records.import_preview import RowPreview
from orgadmin.records.import_problems import ImportProblem
from orgadmin.records.imports import (
    ImportRefused,
    ImportReport,
    import_organizations,
    record_refusal,
)

# In a log, progress is reported each time this many lines were read. On a terminal, it
# is reported after each batch.
LINES_BETWEEN_REPORTS = 100_000


def open_file(file: str | Path) -> AbstractContextManager[BinaryIO]:
    """Open a file, or standard input: the service's user cannot open root's files."""
    if str(file) == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    return open(file, "rb")


class Command(EscapedCommand):
    help = (
        "Create and change organizations from a CSV file. If one line cannot be"
        " imported, nothing is changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            metavar="FILE",
            help="CSV in UTF-8 with a header line; the column “name” is required; “-”"
            " is standard input",
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

    def handle(
        self,
        *,
        file: str | Path,
        actor: str | None,
        dry_run: bool,
        send_mail: bool,
        **options: Any,
    ) -> None:
        try:
            report = self._import(file, actor, dry_run=dry_run, send_mail=send_mail)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(
                f"{ascii(str(file))} cannot be read: {reason}."
            ) from error
        except ImportRefused as error:
            self._print_problems(error.problems)
            raise CommandError(describe_refusal(error.problems)) from error
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise CommandError(
                f"Nothing was imported. The database failed: {reason}. Try again."
            ) from error
        self._print_report(report, dry_run=dry_run)

    def _import(
        self, file: str | Path, username: str | None, *, dry_run: bool, send_mail: bool
    ) -> ImportReport:
        # Without an actor, everything is allowed. An empty username is not the same as
        # no actor: it is looked up, and not found.
        actor = None if username is None else find_user(username, returncode=1)
        if send_mail and actor is None:
            raise CommandError("Use --as to say who sends the invitations.")
        try:
            with open_file(file) as stream:
                return import_organizations(
                    stream,
                    actor=actor,
                    dry_run=dry_run,
                    send_mail=send_mail,
                    on_progress=self._print_progress,
                    on_row=self._print_row if dry_run else None,
                )
        except ImportRefused as error:
            if not dry_run:
                record_refusal(error, actor=actor)
            raise

    def _print_progress(self, lines: int) -> None:
        if self.stderr.isatty():
            # Each number overwrites the previous one.
            self.stderr.write(f"{lines:,} lines read", ending="\r")
        elif lines % LINES_BETWEEN_REPORTS < BATCH:
            self.stderr.write(f"{lines:,} lines read")

    def _print_row(self, row: RowPreview) -> None:
        organization = f"{row.organization} (ID {row.organization.pk})"
        effects = "; ".join(row.effects)
        self.stdout.write(f"line {row.line}: {organization}: {effects}")

    def _print_problems(self, problems: Sequence[ImportProblem]) -> None:
        for problem in problems:
            self.stderr.write(str(problem))

    def _print_report(self, report: ImportReport, *, dry_run: bool) -> None:
        if report.ignored:
            titles = ", ".join(report.ignored)
            self.stdout.write(f"Columns not used: {titles}.")
        if not report.has_key:
            self.stdout.write(
                "There is no column “id” or “reference”, so each line creates an"
                " organization. If you import the file again, it creates them again."
            )
        would_be = "would be " if dry_run else ""
        self.stdout.write(
            f"Organizations: {report.created:,} {would_be}created,"
            f" {report.changed:,} {would_be}changed, {report.unchanged:,} unchanged."
        )
        self.stdout.write(
            f"People: {report.people:,} {would_be}given a role,"
            f" {report.invited:,} {would_be}invited."
        )
        if dry_run:
            self.stdout.write("This was a dry run: nothing was changed.")


def describe_refusal(problems: Sequence[ImportProblem]) -> str:
    """Return the last line of a refused import, in English like all commands."""
    if len(problems) == 1:
        return "Nothing was imported. Fix the problem above and try again."
    return (
        f"Nothing was imported. Fix the {len(problems):,} problems above and try again."
    )
