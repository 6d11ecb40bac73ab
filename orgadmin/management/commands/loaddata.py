"""Load fixtures without adding entries to the logs, which fixtures contain."""

from django.core.management.commands import loaddata
from django.db import connections

from orgadmin.access import membership_log, permission_log
from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import Organization
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
        # {key of an organization: its last change, as the fixtures say}
        self.changes = {}
        super().loaddata(fixture_labels)
        self.restore_last_changes()
        # The logs may name rows that were deleted before the fixture was made.
        raise_sequences(using=self.using)
        continue_histories(using=self.using)

    def save_obj(self, obj):
        # Saving makes the instance forget what triggers keep.
        changed_at = obj.object.__dict__.get("changed_at")
        saved = super().save_obj(obj)
        if saved and changed_at is not None and isinstance(obj.object, Organization):
            self.changes[obj.object.pk] = changed_at
        return saved

    def restore_last_changes(self):
        """Store when organizations were last changed, as the fixtures say.

        For the triggers, each organization and contact of a fixture is a change.
        """
        connection = connections[self.using]
        table = connection.ops.quote_name(Organization._meta.db_table)
        field = Organization._meta.get_field("changed_at")
        rows = [
            (field.get_db_prep_save(changed_at, connection), pk)
            for pk, changed_at in sorted(self.changes.items())
        ]
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET changed_at = %s WHERE id = %s", rows
            )

    def reset_sequences(self, connection, models):
        # Django would continue after the highest key that is left, also in a database
        # that has issued higher ones.
        others = [model for model in models if model not in COLUMNS]
        super().reset_sequences(connection, others)
