"""Count the active admins of an organization again when an inactive one leaves, too.

Someone may be activating the person at the same time. Then neither transaction sees what
the other one does: the one that activates counts a membership that is about to go, and
the one that removes it would take the person for inactive, and count nothing.

The two functions of migration 0057 that this replaces also read organizations only by
index, as in migration 0082. SQLite has one writer at a time, and needs no change.
"""

from django.db import migrations

POSTGRESQL = """
    CREATE OR REPLACE FUNCTION orgadmin_members_left()
    RETURNS trigger
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    DECLARE
        group_ids bigint[] := ARRAY(SELECT DISTINCT group_id FROM old_rows);
        organization_ids bigint[] := ARRAY(
            SELECT id FROM orgadmin_organization WHERE admin_id = ANY(group_ids)
        );
    BEGIN
        IF cardinality(organization_ids) > 0 THEN
            PERFORM orgadmin_count_admins(organization_ids);
        END IF;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_user_activated()
    RETURNS trigger
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    DECLARE
        group_ids bigint[] := ARRAY(
            SELECT group_id FROM orgadmin_user_groups WHERE user_id = NEW.id
        );
        organization_ids bigint[] := ARRAY(
            SELECT id FROM orgadmin_organization WHERE admin_id = ANY(group_ids)
        );
    BEGIN
        IF cardinality(organization_ids) > 0 THEN
            PERFORM orgadmin_count_admins(organization_ids);
        END IF;
        RETURN NULL;
    END $$;
"""

# As in migration 0057.
PREVIOUS_POSTGRESQL = """
    CREATE OR REPLACE FUNCTION orgadmin_members_left()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        -- Inactive members are not counted, so nothing changes when they leave.
        organization_ids bigint[] := ARRAY(
            SELECT organization.id
            FROM old_rows
            JOIN orgadmin_organization organization
                ON organization.admin_id = old_rows.group_id
            WHERE NOT EXISTS (
                SELECT 1
                FROM orgadmin_user member
                WHERE member.id = old_rows.user_id AND NOT member.is_active
            )
        );
    BEGIN
        IF cardinality(organization_ids) > 0 THEN
            PERFORM orgadmin_count_admins(organization_ids);
        END IF;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_user_activated()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        PERFORM orgadmin_count_admins(ARRAY(
            SELECT organization.id
            FROM orgadmin_user_groups membership
            JOIN orgadmin_organization organization
                ON organization.admin_id = membership.group_id
            WHERE membership.user_id = NEW.id
        ));
        RETURN NULL;
    END $$;
"""


def replace(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL)


def restore(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(PREVIOUS_POSTGRESQL)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0093_user_sort_name_indexes")]

    operations = [migrations.RunPython(replace, restore)]
