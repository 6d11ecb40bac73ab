"""The history begins with how each organization is now, so that its next change has a before. Data, and nothing else."""

from django.db import migrations

FIELDS = "id, name, reference, website, email, phone, address, tax_id, notes"


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0012_organization_history")]

    operations = [
        migrations.RunSQL(
            f"INSERT INTO orgadmin_historicalorganization ({FIELDS}, history_date, history_type, history_change_reason)"
            f" SELECT {FIELDS}, CURRENT_TIMESTAMP, '~', 'The history begins.' FROM orgadmin_organization o"
            # Committed before it is recorded, it may be run again.
            " WHERE NOT EXISTS (SELECT 1 FROM orgadmin_historicalorganization h WHERE h.id = o.id) ORDER BY id",
            "DELETE FROM orgadmin_historicalorganization WHERE history_change_reason = 'The history begins.'",
        )
    ]
