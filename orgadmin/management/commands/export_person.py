from django.core.management.base import CommandParser

from orgadmin.management.arguments import find_user
from orgadmin.management.output import EscapedCommand
from orgadmin.records.personal_data import (
    export_person,
    find_person,
    list_not_included,
)


class Command(EscapedCommand):
    help = "Print everything that is stored about USER as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USER", help="a username")
        parser.add_argument(
            "--include",
            action="append",
            default=[],
            metavar="ADDRESS",
            help="an email address that is reported as not included, but is theirs",
        )

    def handle(self, *, username: str, include: list[str], **options):
        user = find_user(username)
        for line in export_person(user, included=include):
            self.stdout.write(line)
        for other in list_not_included(find_person(user, included=include)):
            self.stderr.write(
                f"Not included, because it may be someone else's: {other.address}"
                f" ({other.number:,} rows)"
            )
