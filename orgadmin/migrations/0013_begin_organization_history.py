"""The first record in the history of each existing organization: its present values.

Without it, the next change would have no previous version to compare with.
"""

from django.db import migrations

# The migration may be committed and then interrupted before Django notes that it was
# run. Run again, it skips the organizations that already have a record.
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
