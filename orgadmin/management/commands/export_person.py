from django.core.management.base import CommandParser

from orgadmin.management.arguments import find_user
from orgadmin.management.output import EscapedCommand
from orgadmin.records.personal_data import export_person


class Command(EscapedCommand):
    help = "Print everything that is stored about USER as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USER", help="a username")

    def handle(self, *, username: str, **options):
        for line in export_person(find_user(username)):
            self.stdout.write(line)
