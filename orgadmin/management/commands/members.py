from datetime import date

from django.core.management.base import BaseCommand

from orgadmin.access.membership_log import end_of_day
from orgadmin.management.arguments import find_organization
from orgadmin.models import MembershipEvent
from orgadmin.records.csv_files import write_csv
from orgadmin.records.exports import list_events


class Command(BaseCommand):
    help = "Tell who is a member of ORGANIZATION, or of all, or was at the end of a day: as CSV."

    def add_arguments(self, parser):
        parser.add_argument(
            "organization",
            metavar="ORGANIZATION",
            nargs="?",
            help="an id or an exact name",
        )
        parser.add_argument(
            "--on",
            metavar="DATE",
            type=date.fromisoformat,
            help="such as 2026-12-31; left out: today",
        )

    def handle(self, *, organization, on, **options):
        events = MembershipEvent.objects.order_by("organization_key", "user_name", "pk")
        if organization:
            events = events.filter(organization_key=find_organization(organization).pk)
        for line in write_csv(
            list_events(events.members_on(on and end_of_day(on)).iterator())
        ):
            self.stdout.write(line, ending="")
