"""Load fixtures without adding entries to the logs, which fixtures contain."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log, permission_log
from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.records.keys import COLUMNS, raise_sequences
from orgadmin.records.versions import continue_histories


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

    def loaddata(self, fixture_labels):
        super().loaddata(fixture_labels)
        # The logs may name rows that were deleted before the fixture was made.
        raise_sequences(using=self.using)
        continue_histories(using=self.using)

    def reset_sequences(self, connection, models):
        # Django would continue after the highest key that is left, also in a database
        # that has issued higher ones.
        others = [model for model in models if model not in COLUMNS]
        super().reset_sequences(connection, others)
