"""Load fixtures, with the membership log exactly as they contain it."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log


class Command(loaddata.Command):
    def handle(self, *labels, **options):
        # Otherwise every membership would be logged once more while it is loaded.
        # What a fixture lacks, `manage.py doctor` finds.
        membership_log.disconnect_signal()
        try:
            super().handle(*labels, **options)
        finally:
            membership_log.connect_signal()
