"""When people's roles end, step 2 of 4: add triggers that update the columns.

- `admins_end_at` follows what `active_admins` follows, and the ends of memberships. It
  is NULL if there is no active admin, or one whose membership has no end.
- `RoleHolder` has a row for each person who is in a group of an organization that is
  not archived, with the latest end of these memberships. Triggers update it when
  memberships, their ends or `is_active` change, and when an organization is added or
  archived, or gets other groups.

Both count memberships that have ended until a worker removes them. Readers compare the
end with the clock.

`orgadmin/operations/role_holders.py` contains the parts that depend on the roles.
Migration 0057 counts active admins. This migration replaces two of its functions on
PostgreSQL, and four of its triggers on SQLite.
"""

from django.db import migrations

from orgadmin.operations.role_holders import (
    END_OF_LAST_ADMIN,
    NEVER,
    drop_sqlite_triggers,
    replace_role_holder_triggers,
)

# The roles at this point
ROLES = ["admin", "reviewer"]

# Replaces two functions of migration 0057. The first one also keeps `admins_end_at`.
#
# `role_holders.py` explains why there are no joins with organizations.
POSTGRESQL_COUNT = """
    CREATE OR REPLACE FUNCTION orgadmin_count_admins(organization_ids bigint[])
    RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    DECLARE
        owner record;
        counted record;
        changed_ids bigint[] := '{{}}';
        numbers integer[] := '{{}}';
        ends timestamptz[] := '{{}}';
    BEGIN
        FOR owner IN
            SELECT id, admin_id, active_admins, admins_end_at
            FROM orgadmin_organization
            WHERE id = ANY(organization_ids)
            ORDER BY id
            FOR NO KEY UPDATE
        LOOP
            SELECT
                count(*) AS number,
                NULLIF(max(COALESCE(membership.ends_at, {never})), {never}) AS end_at
            INTO counted
            FROM orgadmin_user_groups membership
            WHERE membership.group_id = owner.admin_id AND (
                SELECT member.is_active
                FROM orgadmin_user member
                WHERE member.id = membership.user_id
            );
            IF counted.number <> owner.active_admins
                OR counted.end_at IS DISTINCT FROM owner.admins_end_at
            THEN
                changed_ids := changed_ids || owner.id;
                numbers := numbers || counted.number::integer;
                ends := ends || counted.end_at;
            END IF;
        END LOOP;
        IF cardinality(changed_ids) > 0 THEN
            UPDATE orgadmin_organization
            SET active_admins = numbers[array_position(changed_ids, id::bigint)],
                admins_end_at = ends[array_position(changed_ids, id::bigint)]
            WHERE id = ANY(changed_ids);
        END IF;
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_members_joined()
    RETURNS trigger
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    DECLARE
        group_ids bigint[] := ARRAY(SELECT DISTINCT group_id FROM new_rows);
        user_ids bigint[] := ARRAY(SELECT DISTINCT user_id FROM new_rows);
        organization_ids bigint[] := ARRAY(
            SELECT id FROM orgadmin_organization WHERE admin_id = ANY(group_ids)
        );
    BEGIN
        IF cardinality(organization_ids) > 0 THEN
            PERFORM 1
            FROM orgadmin_user
            WHERE id = ANY(user_ids)
            ORDER BY id
            FOR NO KEY UPDATE;
            PERFORM orgadmin_count_admins(organization_ids);
        END IF;
        RETURN NULL;
    END $$;
"""

# As in migration 0057.
PREVIOUS_POSTGRESQL_COUNT = """
    CREATE OR REPLACE FUNCTION orgadmin_count_admins(organization_ids bigint[])
    RETURNS void
    LANGUAGE plpgsql
    -- After a bulk load, there are no statistics yet. With a join instead of the inner
    -- query, or without this setting, the planner could then choose to read all users
    -- again for each organization.
    SET enable_seqscan = off
    AS $$
    BEGIN
        PERFORM 1
        FROM orgadmin_organization
        WHERE id IN (SELECT unnest(organization_ids))
        ORDER BY id
        FOR NO KEY UPDATE;

        UPDATE orgadmin_organization organization
        SET active_admins = counted.number
        FROM (
            SELECT owner.id, (
                SELECT count(*)
                FROM orgadmin_user_groups membership
                WHERE membership.group_id = owner.admin_id AND (
                    SELECT member.is_active
                    FROM orgadmin_user member
                    WHERE member.id = membership.user_id
                )
            ) AS number
            FROM orgadmin_organization owner
            WHERE owner.id IN (SELECT unnest(organization_ids))
        ) counted
        WHERE organization.id = counted.id
            AND organization.active_admins <> counted.number;
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_members_joined()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        organization_ids bigint[] := ARRAY(
            SELECT organization.id
            FROM new_rows
            JOIN orgadmin_organization organization
                ON organization.admin_id = new_rows.group_id
        );
    BEGIN
        IF cardinality(organization_ids) > 0 THEN
            PERFORM 1
            FROM orgadmin_user
            WHERE id IN (SELECT user_id FROM new_rows)
            ORDER BY id
            FOR NO KEY UPDATE;
            PERFORM orgadmin_count_admins(organization_ids);
        END IF;
        RETURN NULL;
    END $$;
"""

POSTGRESQL = """
    CREATE OR REPLACE TRIGGER orgadmin_role_holders_joined
    AFTER INSERT ON orgadmin_user_groups
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_role_holders_joined();

    CREATE OR REPLACE FUNCTION orgadmin_role_holders_left()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        -- Update all former members. Their organization may already be deleted, so the
        -- groups do not show which of them had a role.
        PERFORM orgadmin_update_role_holders(
            ARRAY(SELECT DISTINCT user_id FROM old_rows), false
        );
        RETURN NULL;
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_role_holders_left
    AFTER DELETE ON orgadmin_user_groups
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_role_holders_left();

    CREATE OR REPLACE FUNCTION orgadmin_role_ends_changed()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        user_ids bigint[] := ARRAY(
            SELECT DISTINCT new_rows.user_id
            FROM old_rows
            JOIN new_rows ON new_rows.id = old_rows.id
            WHERE new_rows.ends_at IS DISTINCT FROM old_rows.ends_at
        );
        organization_ids bigint[];
    BEGIN
        IF cardinality(user_ids) > 0 THEN
            organization_ids := ARRAY(
                SELECT organization.id
                FROM new_rows
                JOIN orgadmin_organization organization
                    ON organization.admin_id = new_rows.group_id
            );
            PERFORM orgadmin_count_admins(organization_ids);
            PERFORM orgadmin_update_role_holders(user_ids, false);
        END IF;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_role_ends_changed
    AFTER UPDATE ON orgadmin_user_groups
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_role_ends_changed();

    CREATE OR REPLACE FUNCTION orgadmin_role_holder_activated()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        UPDATE orgadmin_roleholder
        SET may_be_inactive = NOT NEW.is_active
        WHERE user_id = NEW.id AND may_be_inactive = NEW.is_active;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_user_activated_as_role_holder
    AFTER UPDATE OF is_active ON orgadmin_user
    FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION orgadmin_role_holder_activated();

    -- Only for organizations that are loaded from a fixture after their members.
    CREATE OR REPLACE TRIGGER orgadmin_role_holders_of_added
    AFTER INSERT ON orgadmin_organization
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_members_of_organizations_changed();

    CREATE OR REPLACE TRIGGER orgadmin_role_holders_of_changed
    AFTER UPDATE ON orgadmin_organization
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_members_of_organizations_changed();
"""

DROP_POSTGRESQL = """
    DROP TRIGGER IF EXISTS orgadmin_role_holders_joined ON orgadmin_user_groups;
    DROP TRIGGER IF EXISTS orgadmin_role_holders_left ON orgadmin_user_groups;
    DROP TRIGGER IF EXISTS orgadmin_role_ends_changed ON orgadmin_user_groups;
    DROP TRIGGER IF EXISTS orgadmin_user_activated_as_role_holder ON orgadmin_user;
    DROP TRIGGER IF EXISTS orgadmin_role_holders_of_added ON orgadmin_organization;
    DROP TRIGGER IF EXISTS orgadmin_role_holders_of_changed ON orgadmin_organization;
    DROP FUNCTION IF EXISTS orgadmin_role_holders_joined();
    DROP FUNCTION IF EXISTS orgadmin_role_holders_left();
    DROP FUNCTION IF EXISTS orgadmin_role_ends_changed();
    DROP FUNCTION IF EXISTS orgadmin_role_holder_activated();
    DROP FUNCTION IF EXISTS orgadmin_members_of_organizations_changed();
    DROP FUNCTION IF EXISTS orgadmin_update_role_holders(bigint[], boolean);
"""

SQLITE_COUNT = """
    SELECT COUNT(*)
    FROM orgadmin_user_groups membership
    JOIN orgadmin_user member ON member.id = membership.user_id
    WHERE membership.group_id = orgadmin_organization.admin_id AND member.is_active
"""

# {name: what comes after CREATE TRIGGER <name>}. They replace those of migration
# 0057.
SQLITE = {
    "orgadmin_members_joined": """
        AFTER INSERT ON orgadmin_user_groups
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins = active_admins + 1, admins_end_at = ({end})
            WHERE admin_id = NEW.group_id AND EXISTS (
                SELECT 1 FROM orgadmin_user WHERE id = NEW.user_id AND is_active
            );
        END
    """,
    "orgadmin_members_left": """
        AFTER DELETE ON orgadmin_user_groups
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins = ({count}), admins_end_at = ({end})
            WHERE admin_id = OLD.group_id;
        END
    """,
    "orgadmin_user_activated": """
        AFTER UPDATE OF is_active ON orgadmin_user
        WHEN OLD.is_active <> NEW.is_active
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins =
                active_admins + (CASE WHEN NEW.is_active THEN 1 ELSE -1 END),
                admins_end_at = ({end})
            WHERE admin_id IN (
                SELECT group_id FROM orgadmin_user_groups WHERE user_id = NEW.id
            );
            UPDATE orgadmin_roleholder
            SET may_be_inactive = NOT NEW.is_active
            WHERE user_id = NEW.id;
        END
    """,
    "orgadmin_organization_added": """
        AFTER INSERT ON orgadmin_organization
        WHEN EXISTS (
            SELECT 1 FROM orgadmin_user_groups WHERE group_id = NEW.admin_id
        )
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins = ({count}), admins_end_at = ({end})
            WHERE id = NEW.id;
        END
    """,
}

# As in migration 0057.
PREVIOUS_SQLITE = {
    "orgadmin_members_joined": """
        AFTER INSERT ON orgadmin_user_groups
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins = active_admins + 1
            WHERE admin_id = NEW.group_id AND EXISTS (
                SELECT 1 FROM orgadmin_user WHERE id = NEW.user_id AND is_active
            );
        END
    """,
    "orgadmin_members_left": """
        AFTER DELETE ON orgadmin_user_groups
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins = ({count})
            WHERE admin_id = OLD.group_id;
        END
    """,
    "orgadmin_user_activated": """
        AFTER UPDATE OF is_active ON orgadmin_user
        WHEN OLD.is_active <> NEW.is_active
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins =
                active_admins + (CASE WHEN NEW.is_active THEN 1 ELSE -1 END)
            WHERE admin_id IN (
                SELECT group_id FROM orgadmin_user_groups WHERE user_id = NEW.id
            );
        END
    """,
    "orgadmin_organization_added": """
        AFTER INSERT ON orgadmin_organization
        WHEN EXISTS (
            SELECT 1 FROM orgadmin_user_groups WHERE group_id = NEW.admin_id
        )
        BEGIN
            UPDATE orgadmin_organization
            SET active_admins = ({count})
            WHERE id = NEW.id;
        END
    """,
}


def replace_sqlite_triggers(schema_editor, triggers):
    parts = {
        "count": SQLITE_COUNT,
        "end": END_OF_LAST_ADMIN.format(never=NEVER["sqlite"]),
    }
    for name, definition in triggers.items():
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}", params=None)
        statement = f"CREATE TRIGGER {name} {definition.format(**parts)}"
        schema_editor.execute(statement, params=None)


def create_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        statements = POSTGRESQL_COUNT.format(never=NEVER["postgresql"])
        schema_editor.execute(statements, params=None)
        replace_role_holder_triggers(schema_editor, ROLES)
        schema_editor.execute(POSTGRESQL, params=None)
        return
    replace_sqlite_triggers(schema_editor, SQLITE)
    replace_role_holder_triggers(schema_editor, ROLES)


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statements in (DROP_POSTGRESQL, PREVIOUS_POSTGRESQL_COUNT):
            schema_editor.execute(statements, params=None)
        return
    drop_sqlite_triggers(schema_editor)
    replace_sqlite_triggers(schema_editor, PREVIOUS_SQLITE)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0081_role_ends")]

    operations = [migrations.RunPython(create_triggers, drop_triggers)]
