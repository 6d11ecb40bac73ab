"""Load fixtures without logging their contents, because fixtures contain the logs."""

from django.core.management.commands import loaddata

from orgadmin.access import membership_log, permission_log
from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import Organization
from orgadmin.models.organization_queryset import ARCHIVE_FIELDS
from orgadmin.records.keys import COLUMNS, raise_sequences
from orgadmin.records.versions import continue_histories

# The fields of organizations that saving does not write. Their values are restored from
# the fixture. The number of active admins is not one of them, because it is counted
# again.
RESTORED_FIELDS = ("changed_at", *ARCHIVE_FIELDS)


class Command(loaddata.Command):
    def handle(self, *labels, **options):
        # Fixtures contain the logs, so the memberships and permissions in them must not
        # be logged again. If entries are missing in the membership log, `manage.py
        # doctor` finds them.
        membership_log.disconnect_signal()
        permission_log.disconnect_signals()
        try:
            super().handle(*labels, **options)
        finally:
            membership_log.connect_signal()
            permission_log.connect_signals()
        # Django does not call the models' `save()` for fixtures, so the audit log does
        # not contain events about each person and permission.
        record(SecurityEvent.FIXTURES_LOADED, details={"fixtures": len(labels)})

    def loaddata(self, fixture_labels):
        # {primary key of an organization: {field: value in the fixture}}
        self.values_by_pk = {}
        super().loaddata(fixture_labels)
        self.restore_fields()
        # The logs may contain keys of rows that were deleted before the fixture was
        # made. Those keys must not be used again.
        raise_sequences(using=self.using)
        continue_histories(using=self.using)

    def save_obj(self, obj):
        # Read the values before saving, which removes these fields from the instance.
        values = {
            name: obj.object.__dict__[name]
            for name in RESTORED_FIELDS
            if name in obj.object.__dict__
        }
        saved = super().save_obj(obj)
        if saved and isinstance(obj.object, Organization):
            self.values_by_pk[obj.object.pk] = values
        return saved

    def restore_fields(self):
        """Restore when organizations were changed, and whether they are archived.

        Otherwise, loading an organization or a contact would count as a change.
        """
        organizations = Organization.objects.using(self.using)
        for pk, values in sorted(self.values_by_pk.items()):
            if values.get("changed_at", "") is None:
                del values["changed_at"]
            if values:
                organizations.write_without_history([pk], values)

    def reset_sequences(self, connection, models):
        # Django would continue after the highest existing key, even if the database has
        # already used higher keys for rows that were deleted.
        others = [model for model in models if model not in COLUMNS]
        super().reset_sequences(connection, others)
