"""Create and change organizations from a CSV file."""

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from orgadmin.models import User
from orgadmin.transfer import ImportRefused, import_organizations

SHOWN = 1_000  # problems


class Command(BaseCommand):
    help = "Create and change organizations from a CSV file: all of it, or nothing where a line is bad."

    def add_arguments(self, parser):
        parser.add_argument(
            "file", metavar="FILE", help="CSV in UTF-8, with a header line; the column name is required"
        )
        parser.add_argument("--as", dest="actor", metavar="USER", help="the user name of the person who imports")
        parser.add_argument("--send-mail", action="store_true", help="tell people, and invite unknown addresses")
        parser.add_argument("--dry-run", action="store_true", help="tell what would happen, and change nothing")

    def handle(self, *, file, actor, dry_run, send_mail, **options):
        try:
            if actor is not None:
                actor = User.objects.filter(username=actor).first() or self._refuse(f"There is no user “{actor}”.")
            if send_mail and not actor:
                self._refuse("Say with --as who invites.")
            options = {"actor": actor, "dry_run": dry_run, "send_mail": send_mail, "progress": self._show_progress}
            with open(file, "rb") as stream:
                report = import_organizations(stream, tell=self._tell if dry_run else None, **options)
        except (OSError, ValueError) as error:
            self._refuse(f"{ascii(str(file))} cannot be read: {getattr(error, 'strerror', None) or error}.")
        except ImportRefused as error:
            for problem in error.problems[:SHOWN]:
                self.stderr.write(str(problem))
            more = len(error.problems) - SHOWN
            also = f" (and {more} more problems)" if more > 0 else ""
            count = len(error.problems)
            what = f"{count:,} problems" if count > 1 else "problem"
            self._refuse(f"Nothing was imported: mend the {what} above{also}, and try again.")
        except DatabaseError as error:
            reason = " ".join(str(error).split())
            self._refuse(f"Nothing was imported: the database refused ({reason}). Try again.")
        self._report(report, dry_run)

    def _refuse(self, text):
        raise CommandError(text)

    def _show_progress(self, lines):
        if self.stderr.isatty():
            self.stderr.write(f"\r{lines:,} lines read", ending="")
            self.stderr.flush()
        elif lines % 100_000 < 1_000:
            self.stderr.write(f"{lines:,} lines read")

    def _tell(self, line, organization, texts):
        self.stdout.write(f"line {line}: {organization} (id {organization.pk}): {'; '.join(texts)}")

    def _report(self, report, dry_run):
        if self.stderr.isatty():
            self.stderr.write("\r", ending="")
        if report.ignored:
            self.stdout.write("Columns not used: " + ", ".join(report.ignored) + ".")
        if not report.has_key:
            self.stdout.write(
                "The file has neither a column id nor reference: each line creates an organization, again each time."
            )
        verb = "would be " if dry_run else ""
        self.stdout.write(
            f"{report.created:,} organizations {verb}created, {report.changed:,} {verb}changed,"
            f" {report.unchanged:,} left as they were;"
            f" {report.people:,} people {verb}given a role, {report.invited:,} {verb}invited."
            + (" Nothing was changed: this was a dry run." if dry_run else "")
        )
