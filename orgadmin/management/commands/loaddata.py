"""Load fixtures without adding entries to the membership log."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log


class Command(loaddata.Command):
    def handle(self, *labels, **options):
        # Fixtures contain the membership log, so the memberships that they load must
        # not be logged again. `manage.py doctor` finds entries that a fixture lacks.
        membership_log.disconnect_signal()
        try:
            super().handle(*labels, **options)
        finally:
            membership_log.connect_signal()
