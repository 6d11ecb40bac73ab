from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from orgadmin.management.arguments import find_user
from orgadmin.records.imports import ImportRefused, import_organizations


class Command(BaseCommand):
    help = "Create and change organizations from a CSV file: all of it, or nothing where a line is bad."

    def add_arguments(self, parser):
        parser.add_argument(
            "file",
            metavar="FILE",
            help="CSV in UTF-8, whose header line has the column name at least",
        )
        parser.add_argument(
            "--as",
            dest="actor",
            metavar="USER",
            help="the user name of the person who imports",
        )
        parser.add_argument(
            "--send-mail",
            action="store_true",
            help="tell people, and invite unknown addresses",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="tell what would happen, and change nothing",
        )

    def handle(self, *, file, actor, dry_run, send_mail, **options):
        try:
            actor = None if actor is None else find_user(actor, returncode=1)
            if send_mail and not actor:
                raise CommandError("Say with --as who invites.")
            options = {
                "actor": actor,
                "dry_run": dry_run,
                "send_mail": send_mail,
                "progress": self._show_progress,
            }
            with open(file, "rb") as stream:
                report = import_organizations(
                    stream, tell=self._tell if dry_run else None, **options
                )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(
                f"{ascii(str(file))} cannot be read: {reason}."
            ) from error
        except ImportRefused as error:
            self.stderr.write("\n".join(map(str, error.problems)))
            what = (
                f"{len(error.problems):,} problems"
                if len(error.problems) > 1
                else "problem"
            )
            raise CommandError(
                f"Nothing was imported: mend the {what} above, and try again."
            ) from error
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            raise CommandError(
                f"Nothing was imported: the database refused ({reason}). Try again."
            ) from error
        if report.ignored:
            self.stdout.write("Columns not used: " + ", ".join(report.ignored) + ".")
        if not report.has_key:
            self.stdout.write(
                "There is no column id or reference: each line creates an organization, again each time."
            )
        verb, end = (
            ("would be ", " Nothing was changed: this was a dry run.")
            if dry_run
            else ("", "")
        )
        self.stdout.write(
            f"{report.created:,} organizations {verb}created, {report.changed:,} {verb}changed, {report.unchanged:,}"
            f" left as they were; {report.people:,} people {verb}given a role, {report.invited:,} {verb}invited.{end}"
        )

    def _show_progress(self, lines):
        if self.stderr.isatty() or lines % 100_000 < 1_000:
            self.stderr.write(
                f"{lines:,} lines read", ending="\r" if self.stderr.isatty() else "\n"
            )

    def _tell(self, line, organization, texts):
        self.stdout.write(
            f"line {line}: {organization} (id {organization.pk}): {'; '.join(texts)}"
        )
