from functools import partial

from django.core.management.base import CommandError, CommandParser

from orgadmin.management.arguments import (
    add_person_arguments,
    describe_not_included,
    find_user,
)
from orgadmin.management.output import EscapedCommand
from orgadmin.models.guards import LastSuperuserError
from orgadmin.records.erasure import ErasureRefused, ErasureReport, erase_person


class Command(EscapedCommand):
    help = (
        "Erase USER: end their access, delete their personal data, and replace their"
        " name and addresses in all logs. This cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_person_arguments(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="print what would be erased, and change nothing",
        )
        parser.add_argument(
            "--replace-texts",
            action="store_true",
            help="also replace their names in what people wrote, such as notes",
        )
        parser.add_argument(
            "--yes",
            action="store_true",
            help="do not ask for confirmation",
        )

    def handle(self, *, username: str, dry_run: bool, yes: bool, **options):
        user = find_user(username)
        erase = partial(
            erase_person,
            user,
            included=options["include"],
            replaces_texts=options["replace_texts"],
        )
        try:
            if not dry_run and not yes:
                self._print(erase(dry_run=True), "would become")
                self._confirm(username)
            report = erase(dry_run=dry_run)
        except (ErasureRefused, LastSuperuserError) as error:
            raise CommandError(str(error)) from error
        self._print(report, "would become" if dry_run else "is now")

    def _print(self, report: ErasureReport, verb: str) -> None:
        self.stdout.write(f"The person {verb} “{report.pseudonym}”.")
        for count in report.counts:
            self.stdout.write(f"  {count.label}: {count.number:,}")
        what = "replaced" if report.replaces_texts else "NOT replaced"
        for texts in report.texts:
            self.stdout.write(
                f"  {texts.label}, {what}: {texts.number:,} ({texts.first_keys})"
            )
        for other in report.not_included:
            self.stdout.write(f"  {describe_not_included(other)}")
        for organization in report.orphaned:
            self.stdout.write(
                f"  No active admin remains: {organization} (ID {organization.pk})"
            )

    def _confirm(self, username: str) -> None:
        answer = input("This cannot be undone. Enter the username to erase it: ")
        if answer != username:
            raise CommandError("The username does not match. Nothing was changed.")
