"""Add a first record to the history of each existing organization: its current values.

Without this record, the next change would have no previous version to compare with.
"""

from django.db import migrations

# The migration can be interrupted after the commit, but before Django records that it
# was applied. If it is then run again, it skips organizations that already have a
# record.
BEGIN = """
    INSERT INTO orgadmin_historicalorganization (
        id, name, reference, website, email, phone, address, tax_id, notes,
        history_date, history_type, history_change_reason
    )
    SELECT
        id, name, reference, website, email, phone, address, tax_id, notes,
        CURRENT_TIMESTAMP, '~', 'The history begins.'
    FROM orgadmin_organization o
    WHERE NOT EXISTS (
        SELECT 1
        FROM orgadmin_historicalorganization h
        WHERE h.id = o.id
    )
    ORDER BY id
"""

UNDO = """
    DELETE FROM orgadmin_historicalorganization
    WHERE history_change_reason = 'The history begins.'
"""


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0012_organization_history")]

    operations = [migrations.RunSQL(BEGIN, UNDO)]
