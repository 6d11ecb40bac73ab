"""The operation that sets which roles the table `RoleHolder` records.

Database triggers keep the table up to date. For each role, it has a column such as
`reviewer_until`, and organizations have a column such as `reviewer_id`.

On PostgreSQL, the functions lock users first, then organizations, then rows of
`RoleHolder`, each in the order of their IDs. The next statement then sees what other
transactions have committed. A transaction that adds members locks them, so they cannot
be deactivated at the same time. A transaction that restores an organization does not
lock its members, so `may_be_inactive` is True in new rows.

PostgreSQL's statistics do not count rows that are not committed yet. While a
transaction adds many rows, PostgreSQL may assume that a table is empty. All orders of
joins then seem equally cheap, and it might read all organizations for each membership.
So the functions do not join organizations. They compare columns with arrays, using
"= ANY", which can use an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orgadmin.operations.triggers import ReplaceTriggers

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# Stands for memberships without an end.
NEVER = {
    "postgresql": "timestamptz '9999-12-31 00:00:00+00'",
    "sqlite": "'9999-12-31 00:00:00'",
}

# The latest end of a person's memberships in groups of one role, or NULL. First looks
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
    WHERE organization.{role}_id = membership.group_id
"""

# When an organization no longer has an active admin, or NULL: see `admins_end_at`.
END_OF_LAST_ADMIN = """
    SELECT NULLIF(MAX(COALESCE(membership.ends_at, {never})), {never})
    FROM orgadmin_user_groups membership
    JOIN orgadmin_user member ON member.id = membership.user_id
    WHERE membership.group_id = orgadmin_organization.admin_id AND member.is_active
"""

# The functions that depend on the roles. Migration 0082 has the other functions, and
# the triggers.
POSTGRESQL = """
    -- `are_locked`: whether the caller has locked the users.
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
        SET {set_found}
        FROM (
            SELECT member.id, {latest_ends}
            FROM (SELECT DISTINCT unnest(user_ids) AS id) member
        ) found
        WHERE holder.user_id = found.id AND ({differs});

        DELETE FROM orgadmin_roleholder
        WHERE user_id = ANY(user_ids) AND {has_no_role};

        -- Another transaction may add a row for the same person at the same time. Each
        -- may see a membership that the other does not, so the later end is kept.
        INSERT INTO orgadmin_roleholder AS holder
            (user_id, {columns}, may_be_inactive)
        SELECT found.id, {found_columns}, found.may_be_inactive
        FROM (
            SELECT
                member.id,
                NOT (are_locked AND member.is_active) AS may_be_inactive,
                {latest_ends}
            FROM orgadmin_user member
            WHERE member.id = ANY(user_ids)
                AND NOT EXISTS (
                    SELECT 1 FROM orgadmin_roleholder WHERE user_id = member.id
                )
        ) found
        WHERE {has_found_role}
        ORDER BY found.id
        ON CONFLICT (user_id) DO UPDATE
        SET {set_greatest};
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_role_holders_joined()
    RETURNS trigger
    LANGUAGE plpgsql
    SET enable_seqscan = off
    AS $$
    DECLARE
        group_ids bigint[] := ARRAY(SELECT DISTINCT group_id FROM new_rows);
        role_ids bigint[] := ARRAY({groups_of_roles});
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
            -- Lock the organizations, so that they are not archived at the same time.
            -- orgadmin_members_joined() has already locked those that get admins.
            PERFORM 1
            FROM orgadmin_organization
            WHERE {gets_other_members}
            ORDER BY id
            FOR NO KEY UPDATE;
            PERFORM orgadmin_update_role_holders(user_ids, true);
        END IF;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_members_of_organizations_changed()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        group_ids bigint[];
        user_ids bigint[];
    BEGIN
        IF TG_OP = 'INSERT' THEN
            group_ids := ARRAY(SELECT unnest(ARRAY[{groups}]) FROM new_rows);
        ELSE
            group_ids := ARRAY(
                SELECT unnest(ARRAY[{old_groups}, {new_groups}])
                FROM old_rows
                JOIN new_rows ON new_rows.id = old_rows.id
                WHERE (new_rows.archived_at IS NULL) <> (old_rows.archived_at IS NULL)
                    OR {groups_differ}
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
"""

# Updates the rows of some people. `users` is an ID, or a query that returns IDs.
SQLITE_HOLDERS = """
    INSERT INTO orgadmin_roleholder (user_id, {columns}, may_be_inactive)
    SELECT member.id, {latest_ends}, NOT member.is_active
    FROM orgadmin_user member
    WHERE member.id IN ({users})
    ON CONFLICT (user_id) DO UPDATE
    SET {set_excluded};
    DELETE FROM orgadmin_roleholder
    WHERE user_id IN ({users}) AND {has_no_role};
"""
SQLITE_MEMBERS = """
    SELECT user_id
    FROM orgadmin_user_groups
    WHERE group_id IN ({groups})
"""

# The triggers that depend on the roles: {name: what comes after it}.
SQLITE = {
    "orgadmin_role_holders_joined": """
        AFTER INSERT ON orgadmin_user_groups
        WHEN EXISTS (
            SELECT 1
            FROM orgadmin_organization
            WHERE {is_group_of_role}
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
    "orgadmin_role_ends_changed": """
        AFTER UPDATE OF ends_at ON orgadmin_user_groups
        WHEN OLD.ends_at IS NOT NEW.ends_at
        BEGIN
            UPDATE orgadmin_organization
            SET admins_end_at = ({end_of_last_admin})
            WHERE admin_id = NEW.group_id;
            {holder}
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
        AFTER UPDATE OF archived_at, {group_columns} ON orgadmin_organization
        WHEN (OLD.archived_at IS NULL) <> (NEW.archived_at IS NULL)
            OR {groups_differ}
        BEGIN
            {former_holders}
            {holders}
        END
    """,
}


class UpdateRoleHolders(ReplaceTriggers):
    """Set the roles that `RoleHolder` records, in the order of `ROLES`.

    Columns such as `owner_until` and `owner_id` must exist. The column of a new role is
    not filled, so the groups of this role must still be empty.

    Reversing does not delete the rows of people who only have the new role. They are
    deleted with the memberships.
    """

    def replace_triggers(
        self, schema_editor: BaseDatabaseSchemaEditor, names: Sequence[str]
    ) -> None:
        replace_role_holder_triggers(schema_editor, names)


def replace_role_holder_triggers(
    schema_editor: BaseDatabaseSchemaEditor, roles: Sequence[str]
) -> None:
    """Replace the functions, or on SQLite the triggers, that depend on the roles."""
    if schema_editor.connection.vendor == "postgresql":
        statements = POSTGRESQL.format(**build_postgresql_parts(roles))
        schema_editor.execute(statements, params=None)
        return
    drop_sqlite_triggers(schema_editor)
    parts = build_sqlite_parts(roles)
    for name, definition in SQLITE.items():
        statement = f"CREATE TRIGGER {name} {definition.format(**parts)}"
        schema_editor.execute(statement, params=None)


def drop_sqlite_triggers(schema_editor: BaseDatabaseSchemaEditor) -> None:
    for name in SQLITE:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}", params=None)


def build_postgresql_parts(roles: Sequence[str]) -> dict[str, str]:
    """Return the parts of POSTGRESQL that depend on the roles."""
    others = [role for role in roles if role != "admin"]
    greatest = "GREATEST(holder.{role}_until, EXCLUDED.{role}_until)"
    differs = "new_rows.{role}_id IS DISTINCT FROM old_rows.{role}_id"
    groups_of_role = """
        SELECT {role}_id
        FROM orgadmin_organization
        WHERE {role}_id = ANY(group_ids)
    """
    return {
        "columns": join_for_roles(roles, "{role}_until"),
        "found_columns": join_for_roles(roles, "found.{role}_until"),
        "latest_ends": build_latest_ends(roles, "postgresql"),
        "set_found": join_for_roles(roles, "{role}_until = found.{role}_until"),
        "set_greatest": join_for_roles(roles, "{role}_until = " + greatest),
        "differs": join_for_roles(
            roles, "holder.{role}_until IS DISTINCT FROM found.{role}_until", " OR "
        ),
        "has_no_role": join_for_roles(roles, "{role}_until IS NULL", " AND "),
        "has_found_role": join_for_roles(
            roles, "found.{role}_until IS NOT NULL", " OR "
        ),
        "groups_of_roles": join_for_roles(roles, groups_of_role, " UNION ALL "),
        "gets_other_members": join_for_roles(
            others, "{role}_id = ANY(group_ids)", " OR "
        ),
        "groups": join_for_roles(roles, "{role}_id"),
        "old_groups": join_for_roles(roles, "old_rows.{role}_id"),
        "new_groups": join_for_roles(roles, "new_rows.{role}_id"),
        "groups_differ": join_for_roles(roles, differs, " OR "),
    }


def build_sqlite_parts(roles: Sequence[str]) -> dict[str, str]:
    """Return the parts of SQLITE that depend on the roles."""
    members = SQLITE_MEMBERS.format(groups=join_for_roles(roles, "NEW.{role}_id"))
    former_members = SQLITE_MEMBERS.format(
        groups=join_for_roles(roles, "OLD.{role}_id")
    )
    return {
        "end_of_last_admin": END_OF_LAST_ADMIN.format(never=NEVER["sqlite"]),
        "group_columns": join_for_roles(roles, "{role}_id"),
        "groups_differ": join_for_roles(
            roles, "OLD.{role}_id IS NOT NEW.{role}_id", " OR "
        ),
        "is_group_of_role": join_for_roles(roles, "{role}_id = NEW.group_id", " OR "),
        "members": members,
        "holder": build_sqlite_update(roles, "NEW.user_id"),
        "former_holder": build_sqlite_update(roles, "OLD.user_id"),
        "holders": build_sqlite_update(roles, members),
        "former_holders": build_sqlite_update(roles, former_members),
    }


def build_sqlite_update(roles: Sequence[str], users: str) -> str:
    """Return the statements that update the rows of `users`: an ID, or a query."""
    return SQLITE_HOLDERS.format(
        users=users,
        columns=join_for_roles(roles, "{role}_until"),
        latest_ends=build_latest_ends(roles, "sqlite"),
        set_excluded=join_for_roles(roles, "{role}_until = EXCLUDED.{role}_until"),
        has_no_role=join_for_roles(roles, "{role}_until IS NULL", " AND "),
    )


def build_latest_ends(roles: Sequence[str], vendor: str) -> str:
    """Return a column for each role: the latest end of this role of `member`."""
    ends = []
    for role in roles:
        is_unarchived = IS_UNARCHIVED.format(role=role)
        end = LATEST_END.format(is_unarchived=is_unarchived, never=NEVER[vendor])
        ends.append(f"{end} AS {role}_until")
    return ", ".join(ends)


def join_for_roles(roles: Sequence[str], template: str, separator: str = ", ") -> str:
    """Fill in "{role}" in the template for each role, and join the results."""
    return separator.join(template.format(role=role) for role in roles)
