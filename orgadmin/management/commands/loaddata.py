"""Load fixtures without adding entries to the logs, which fixtures contain."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log, permission_log
from orgadmin.access.audit_log import SecurityEvent, record


class Command(loaddata.Command):
    def handle(self, *labels, **options):
        # Fixtures contain the logs, so the memberships and permissions that they load
        # must not be logged again. `manage.py doctor` finds entries that the membership
        # log lacks.
        membership_log.disconnect_signal()
        permission_log.disconnect_signals()
        try:
            super().handle(*labels, **options)
        finally:
            membership_log.connect_signal()
            permission_log.connect_signals()
        # Django saves what fixtures contain without calling `save()`, so no person or
        # permission in it is recorded on its own.
        record(SecurityEvent.FIXTURES_LOADED, details={"fixtures": len(labels)})
