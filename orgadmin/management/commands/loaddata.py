"""Load fixtures without adding entries to the logs, which fixtures contain."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log, permission_log
from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import Organization
from orgadmin.models.organization_queryset import ARCHIVE_FIELDS
from orgadmin.records.keys import COLUMNS, raise_sequences
from orgadmin.records.versions import continue_histories

# The number of active admins is counted again.
KEPT_FIELDS = ("changed_at", *ARCHIVE_FIELDS)


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
        # {key of an organization: the columns that saving leaves out, as the fixtures
        # say}
        self.kept = {}
        super().loaddata(fixture_labels)
        self.restore_kept()
        # The logs may name rows that were deleted before the fixture was made.
        raise_sequences(using=self.using)
        continue_histories(using=self.using)

    def save_obj(self, obj):
        # Saving makes the instance forget what it does not write.
        values = {
            name: obj.object.__dict__[name]
            for name in KEPT_FIELDS
            if name in obj.object.__dict__
        }
        saved = super().save_obj(obj)
        if saved and isinstance(obj.object, Organization):
            self.kept[obj.object.pk] = values
        return saved

    def restore_kept(self):
        """Store when organizations were last changed, and which of them are archived.

        Otherwise, each organization and contact of a fixture would be a change.
        """
        organizations = Organization.objects.using(self.using)
        for pk, values in sorted(self.kept.items()):
            if values.get("changed_at", "") is None:
                del values["changed_at"]
            if values:
                organizations.write_kept([pk], values)

    def reset_sequences(self, connection, models):
        # Django would continue after the highest key that is left, also in a database
        # that has issued higher ones.
        others = [model for model in models if model not in COLUMNS]
        super().reset_sequences(connection, others)
