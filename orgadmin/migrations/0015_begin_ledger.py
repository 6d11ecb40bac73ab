"""Add the first rows to the membership log: one for each existing membership."""

from django.db import migrations

# The migration can be interrupted after the commit, but before Django records that it
# was applied. If it is then run again, it skips memberships that already have a row.
BEGIN = """
    INSERT INTO orgadmin_membershipevent (
        at, event, user_key, user_name, organization_key, organization_name,
        role, actor_name, reason
    )
    SELECT
        CURRENT_TIMESTAMP, 'found', u.id, u.username, o.id, o.name,
        'admin', '', 'The ledger begins.'
    FROM orgadmin_user_groups m
    JOIN orgadmin_user u ON u.id = m.user_id
    JOIN orgadmin_organization o ON o.admin_id = m.group_id
    WHERE NOT EXISTS (
        SELECT 1
        FROM orgadmin_membershipevent e
        WHERE e.user_key = u.id
            AND e.organization_key = o.id
            AND e.role = 'admin'
    )
    UNION ALL
    SELECT
        CURRENT_TIMESTAMP, 'found', u.id, u.username, o.id, o.name,
        'reviewer', '', 'The ledger begins.'
    FROM orgadmin_user_groups m
    JOIN orgadmin_user u ON u.id = m.user_id
    JOIN orgadmin_organization o ON o.reviewer_id = m.group_id
    WHERE NOT EXISTS (
        SELECT 1
        FROM orgadmin_membershipevent e
        WHERE e.user_key = u.id
            AND e.organization_key = o.id
            AND e.role = 'reviewer'
    )
"""

UNDO = """
    DELETE FROM orgadmin_membershipevent
    WHERE reason = 'The ledger begins.'
"""


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0014_membership_event")]

    operations = [migrations.RunSQL(BEGIN, UNDO)]
