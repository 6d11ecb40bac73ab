"""The ledger begins with a row for each membership there is. Data, and nothing else."""

from django.db import migrations

ROWS = """\
SELECT CURRENT_TIMESTAMP, 'found', u.id, u.username, o.id, o.name, '{0}', '', 'The ledger begins.'
FROM orgadmin_user_groups m JOIN orgadmin_user u ON u.id = m.user_id JOIN orgadmin_organization o
ON o.{0}_id = m.group_id
WHERE NOT EXISTS (SELECT 1 FROM orgadmin_membershipevent e
WHERE e.user_key = u.id AND e.organization_key = o.id AND e.role = '{0}')"""  # committed before it is recorded


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0014_membership_event")]

    operations = [
        migrations.RunSQL(
            "INSERT INTO orgadmin_membershipevent (at, event, user_key, user_name, organization_key, organization_name,"
            f" role, actor_name, reason) {ROWS.format('admin')} UNION ALL {ROWS.format('reviewer')}",
            "DELETE FROM orgadmin_membershipevent WHERE reason = 'The ledger begins.'",
        )
    ]
