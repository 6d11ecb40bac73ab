"""Until when people hold roles, step 2 of 4: let triggers keep it.

- `admins_end_at` follows what `active_admins` follows, and the ends of memberships. It
  is NULL if there is no active admin, or one whose membership has no end.
- `RoleHolder` has a row for each person who is in a group of an organization that is
  not archived, with the latest end of these memberships. It follows memberships, their
  ends, and archiving.

Both count memberships that have ended until a worker removes them. Readers compare the
end with the clock.

On PostgreSQL, rows of `RoleHolder` are locked after users and organizations, in the
order of their keys, and computed with a new statement, which sees what others have
committed. Whoever adds members has locked these users, so no one is deactivated at the
same time. Whoever restores an organization has not, so for new rows it is not known
whether the person is active.

The functions and triggers of migration 0057 that count active admins are replaced.
"""

from django.db import migrations

# Stands for memberships without an end.
NEVER = "9999-12-31 00:00:00"

# The latest end of a person's memberships in groups of one kind, or NULL. First looks
# for one without an end. The condition on the organization is a subquery, so that no
# database reads all organizations.
LATEST_END = """
    CASE
        WHEN EXISTS (
            SELECT 1
            FROM orgadmin_user_groups membership
            WHERE membership.user_id = member.id
                AND membership.ends_at IS NULL
                AND ({is_unarchived})
        ) THEN {never}
        ELSE (
            SELECT MAX(membership.ends_at)
            FROM orgadmin_user_groups membership
            WHERE membership.user_id = member.id AND ({is_unarchived})
        )
    END
"""
IS_UNARCHIVED = """
    SELECT organization.archived_at IS NULL
    FROM orgadmin_organization organization
    WHERE organization.{column} = membership.group_id
"""

# Replaces two functions of migration 0057. The first one also keeps `admins_end_at`.
#
# While a transaction adds many rows, PostgreSQL may note that these tables are empty,
# because it does not count rows that are not committed yet. The planner then takes any
# order of joins for equally cheap, and reads all organizations for each membership. So
# there is no join here, and arrays are compared with "= ANY", which an index answers.
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
    -- With `are_locked`, the caller has locked the users.
    CREATE OR REPLACE FUNCTION orgadmin_update_role_holders(
        user_ids bigint[], are_locked boolean
    )
    RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    BEGIN
        PERFORM 1
        FROM orgadmin_roleholder
        WHERE user_id = ANY(user_ids)
        ORDER BY user_id
        FOR UPDATE;

        UPDATE orgadmin_roleholder holder
        SET admin_until = found.admin_until, reviewer_until = found.reviewer_until
        FROM (
            SELECT
                member.id,
                {admin_until} AS admin_until,
                {reviewer_until} AS reviewer_until
            FROM (SELECT DISTINCT unnest(user_ids) AS id) member
        ) found
        WHERE holder.user_id = found.id AND (
            holder.admin_until IS DISTINCT FROM found.admin_until
            OR holder.reviewer_until IS DISTINCT FROM found.reviewer_until
        );

        DELETE FROM orgadmin_roleholder
        WHERE user_id = ANY(user_ids)
            AND admin_until IS NULL
            AND reviewer_until IS NULL;

        -- Someone else may be adding the same rows. Both then know of a membership of
        -- which the other one does not.
        INSERT INTO orgadmin_roleholder AS holder
            (user_id, admin_until, reviewer_until, may_be_inactive)
        SELECT found.id, found.admin_until, found.reviewer_until, found.may_be_inactive
        FROM (
            SELECT
                member.id,
                NOT (are_locked AND member.is_active) AS may_be_inactive,
                {admin_until} AS admin_until,
                {reviewer_until} AS reviewer_until
            FROM orgadmin_user member
            WHERE member.id = ANY(user_ids)
                AND NOT EXISTS (
                    SELECT 1 FROM orgadmin_roleholder WHERE user_id = member.id
                )
        ) found
        WHERE found.admin_until IS NOT NULL OR found.reviewer_until IS NOT NULL
        ORDER BY found.id
        ON CONFLICT (user_id) DO UPDATE
        SET admin_until = GREATEST(holder.admin_until, EXCLUDED.admin_until),
            reviewer_until = GREATEST(holder.reviewer_until, EXCLUDED.reviewer_until);
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_role_holders_joined()
    RETURNS trigger
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    DECLARE
        group_ids bigint[] := ARRAY(SELECT DISTINCT group_id FROM new_rows);
        role_ids bigint[] := ARRAY(
            SELECT admin_id
            FROM orgadmin_organization
            WHERE admin_id = ANY(group_ids)
            UNION ALL
            SELECT reviewer_id
            FROM orgadmin_organization
            WHERE reviewer_id = ANY(group_ids)
        );
        user_ids bigint[] := ARRAY(
            SELECT DISTINCT user_id FROM new_rows WHERE group_id = ANY(role_ids)
        );
    BEGIN
        IF cardinality(user_ids) > 0 THEN
            PERFORM 1
            FROM orgadmin_user
            WHERE id = ANY(user_ids)
            ORDER BY id
            FOR NO KEY UPDATE;
            -- None of these is archived meanwhile. The other trigger has locked the
            -- organizations that get admins.
            PERFORM 1
            FROM orgadmin_organization
            WHERE reviewer_id = ANY(group_ids)
            ORDER BY id
            FOR NO KEY UPDATE;
            PERFORM orgadmin_update_role_holders(user_ids, true);
        END IF;
        RETURN NULL;
    END $$;

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
        -- The organization may have been deleted before its groups.
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

    CREATE OR REPLACE FUNCTION orgadmin_members_of_organizations_changed()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        group_ids bigint[];
        user_ids bigint[];
    BEGIN
        IF TG_OP = 'INSERT' THEN
            group_ids := ARRAY(
                SELECT unnest(ARRAY[admin_id, reviewer_id]) FROM new_rows
            );
        ELSE
            group_ids := ARRAY(
                SELECT unnest(ARRAY[
                    old_rows.admin_id,
                    old_rows.reviewer_id,
                    new_rows.admin_id,
                    new_rows.reviewer_id
                ])
                FROM old_rows
                JOIN new_rows ON new_rows.id = old_rows.id
                WHERE (new_rows.archived_at IS NULL) <> (old_rows.archived_at IS NULL)
                    OR new_rows.admin_id IS DISTINCT FROM old_rows.admin_id
                    OR new_rows.reviewer_id IS DISTINCT FROM old_rows.reviewer_id
            );
        END IF;
        IF cardinality(group_ids) > 0 THEN
            user_ids := ARRAY(
                SELECT DISTINCT user_id
                FROM orgadmin_user_groups
                WHERE group_id = ANY(group_ids)
            );
            IF cardinality(user_ids) > 0 THEN
                PERFORM orgadmin_update_role_holders(user_ids, false);
            END IF;
        END IF;
        RETURN NULL;
    END $$;

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
END = """
    SELECT NULLIF(MAX(COALESCE(membership.ends_at, {never})), {never})
    FROM orgadmin_user_groups membership
    JOIN orgadmin_user member ON member.id = membership.user_id
    WHERE membership.group_id = orgadmin_organization.admin_id AND member.is_active
"""

# Updates the rows of some people. `users` is a condition, or a list of IDs.
SQLITE_HOLDERS = """
    INSERT INTO orgadmin_roleholder
        (user_id, admin_until, reviewer_until, may_be_inactive)
    SELECT member.id, {admin_until}, {reviewer_until}, NOT member.is_active
    FROM orgadmin_user member
    WHERE member.id IN ({users})
    ON CONFLICT (user_id) DO UPDATE
    SET admin_until = EXCLUDED.admin_until, reviewer_until = EXCLUDED.reviewer_until;
    DELETE FROM orgadmin_roleholder
    WHERE user_id IN ({users}) AND admin_until IS NULL AND reviewer_until IS NULL;
"""
SQLITE_MEMBERS = """
    SELECT user_id
    FROM orgadmin_user_groups
    WHERE group_id IN (NEW.admin_id, NEW.reviewer_id)
"""
SQLITE_MEMBERS_BEFORE = """
    SELECT user_id
    FROM orgadmin_user_groups
    WHERE group_id IN (OLD.admin_id, OLD.reviewer_id)
"""

# {name: what comes after CREATE TRIGGER <name>}. The first four replace those of
# migration 0057.
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
    "orgadmin_role_ends_changed": """
        AFTER UPDATE OF ends_at ON orgadmin_user_groups
        WHEN OLD.ends_at IS NOT NEW.ends_at
        BEGIN
            UPDATE orgadmin_organization
            SET admins_end_at = ({end})
            WHERE admin_id = NEW.group_id;
            {holder}
        END
    """,
    "orgadmin_role_holders_joined": """
        AFTER INSERT ON orgadmin_user_groups
        WHEN EXISTS (
            SELECT 1
            FROM orgadmin_organization
            WHERE admin_id = NEW.group_id OR reviewer_id = NEW.group_id
        )
        BEGIN
            {holder}
        END
    """,
    "orgadmin_role_holders_left": """
        AFTER DELETE ON orgadmin_user_groups
        BEGIN
            {former_holder}
        END
    """,
    "orgadmin_role_holders_of_added": """
        AFTER INSERT ON orgadmin_organization
        WHEN EXISTS ({members})
        BEGIN
            {holders}
        END
    """,
    "orgadmin_role_holders_of_changed": """
        AFTER UPDATE OF archived_at, admin_id, reviewer_id ON orgadmin_organization
        WHEN (OLD.archived_at IS NULL) <> (NEW.archived_at IS NULL)
            OR OLD.admin_id IS NOT NEW.admin_id
            OR OLD.reviewer_id IS NOT NEW.reviewer_id
        BEGIN
            {former_holders}
            {holders}
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


def write_latest_end(column, never):
    """Return LATEST_END for the groups that a column of organizations names."""
    is_unarchived = IS_UNARCHIVED.format(column=column)
    return LATEST_END.format(is_unarchived=is_unarchived, never=never)


def write_parts(vendor):
    never = f"'{NEVER}'"
    if vendor == "postgresql":
        never = f"timestamptz '{NEVER}+00'"
    return {
        "never": never,
        "admin_until": write_latest_end("admin_id", never),
        "reviewer_until": write_latest_end("reviewer_id", never),
    }


def write_sqlite_parts():
    parts = write_parts("sqlite")
    return {
        "count": SQLITE_COUNT,
        "end": END.format(**parts),
        "members": SQLITE_MEMBERS,
        "holder": SQLITE_HOLDERS.format(users="NEW.user_id", **parts),
        "former_holder": SQLITE_HOLDERS.format(users="OLD.user_id", **parts),
        "holders": SQLITE_HOLDERS.format(users=SQLITE_MEMBERS, **parts),
        "former_holders": SQLITE_HOLDERS.format(users=SQLITE_MEMBERS_BEFORE, **parts),
    }


def replace_sqlite_triggers(schema_editor, old, new):
    parts = write_sqlite_parts()
    for name in old:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}", params=None)
    for name, definition in new.items():
        statement = f"CREATE TRIGGER {name} {definition.format(**parts)}"
        schema_editor.execute(statement, params=None)


def create_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        parts = write_parts("postgresql")
        for statements in (POSTGRESQL_COUNT, POSTGRESQL):
            schema_editor.execute(statements.format(**parts), params=None)
        return
    replace_sqlite_triggers(schema_editor, PREVIOUS_SQLITE, SQLITE)


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statements in (DROP_POSTGRESQL, PREVIOUS_POSTGRESQL_COUNT):
            schema_editor.execute(statements, params=None)
        return
    replace_sqlite_triggers(schema_editor, SQLITE, PREVIOUS_SQLITE)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0081_role_ends")]

    operations = [migrations.RunPython(create_triggers, drop_triggers)]
