from datetime import date
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.management.arguments import find_organization
from orgadmin.management.output import EscapedCommand
from orgadmin.models import MembershipEvent
from orgadmin.records.csv_files import LINE_END, write_csv
from orgadmin.records.exports import list_events


class Command(EscapedCommand):
    help = "Print the members of ORGANIZATION, or of all organizations, as CSV."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "organization",
            metavar="ORGANIZATION",
            nargs="?",
            help="an ID or an exact name; the default is all organizations",
        )
        parser.add_argument(
            "--on",
            metavar="DATE",
            type=date.fromisoformat,
            help="print the members at the end of this day, such as 2026-12-31",
        )

    def handle(
        self, *, organization: str | None, on: date | None, **options: Any
    ) -> None:
        if on is not None and on > timezone.localdate():
            raise CommandError(
                f"{on} is in the future. Choose today or an earlier day."
            )
        events = MembershipEvent.objects.order_by("organization_key", "user_name", "pk")
        if organization:
            events = events.filter(organization_key=find_organization(organization).pk)
        if on is None:
            members = events.find_joining_events_of_members()
        else:
            moment = find_start_of_next_day(on)
            members = events.find_joining_events_of_members(moment)
        for line in write_csv(list_events(members)):
            self.stdout.write(line, ending=LINE_END)
