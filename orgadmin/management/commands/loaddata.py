"""Load fixtures, with the ledger as they bring it."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log as ledger


class Command(loaddata.Command):
    def handle(self, *labels, **options):
        ledger.listen(
            False
        )  # else all who are in a group would be found anew; what a fixture lacks, doctor finds
        try:
            super().handle(*labels, **options)
        finally:
            ledger.listen()
