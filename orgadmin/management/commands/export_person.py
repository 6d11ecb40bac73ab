from django.core.management.base import CommandParser

from orgadmin.management.arguments import (
    add_person_arguments,
    describe_not_included,
    find_user,
)
from orgadmin.management.output import EscapedCommand
from orgadmin.records.personal_data import (
    export_person,
    find_person,
    list_not_included,
)


class Command(EscapedCommand):
    help = "Print what is stored about USER, as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        add_person_arguments(parser)

    def handle(self, *, username: str, include: list[str], **options):
        user = find_user(username)
        for line in export_person(user, included=include):
            self.stdout.write(line)
        for other in list_not_included(find_person(user, included=include)):
            self.stderr.write(describe_not_included(other))
