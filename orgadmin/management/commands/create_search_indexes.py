from django.core.management.base import CommandError
from django.db import connection

from orgadmin.management.output import EscapedCommand
from orgadmin.management.search_indexes import (
    TrigramsUnavailable,
    create_missing_indexes,
)


class Command(EscapedCommand):
    help = (
        "Create the trigram indexes of the search that are missing. Run this if"
        " PostgreSQL's pg_trgm extension was not available when the tables were"
        " created. The site can keep running."
    )

    def handle(self, **options):
        try:
            created = create_missing_indexes(connection)
        except TrigramsUnavailable as error:
            raise CommandError(str(error)) from error
        for name in created:
            self.stdout.write(f"Created {name}.")
        if not created:
            self.stdout.write("No index is missing.")
