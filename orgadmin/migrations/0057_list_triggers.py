"""The columns of lists, step 2 of 4: let triggers keep two of them.

- `active_admins` is the number of members of the admin group who can sign in. It
  follows memberships, and `is_active` of users.
- `changed_at` is when the fields or contacts of an organization were last changed.

On PostgreSQL, several transactions can change the admins of one organization at the
same time. So each one locks the organizations, in the order of their keys, and counts
with a new statement, which sees what the others have committed. Before that, whoever
adds members locks these users, because a user may be deactivated at the same time. This
is the order in which all code takes its locks.

On SQLite, only one transaction writes at a time. A later migration that makes Django
create one of these tables anew (on SQLite, most changes of columns do) loses the
triggers of that table, and must create them again. tests/test_list_columns.py notices.
"""

from django.db import migrations

# The fields of which a change counts. Others are computed, or cannot change.
ORGANIZATION_FIELDS = [
    "name",
    "reference",
    "website",
    "email",
    "phone",
    "address",
    "tax_id",
    "notes",
]
CONTACT_FIELDS = ["organization_id", "name", "role", "email", "phone"]

POSTGRESQL = """
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

    CREATE OR REPLACE TRIGGER orgadmin_members_joined
    AFTER INSERT ON orgadmin_user_groups
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_members_joined();

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

    CREATE OR REPLACE TRIGGER orgadmin_members_left
    AFTER DELETE ON orgadmin_user_groups
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_members_left();

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

    CREATE OR REPLACE TRIGGER orgadmin_user_activated
    AFTER UPDATE OF is_active ON orgadmin_user
    FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION orgadmin_user_activated();

    CREATE OR REPLACE FUNCTION orgadmin_organization_added()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        -- Only those that were loaded from a fixture after their members.
        organization_ids bigint[] := ARRAY(
            SELECT new_rows.id
            FROM new_rows
            WHERE EXISTS (
                SELECT 1
                FROM orgadmin_user_groups membership
                WHERE membership.group_id = new_rows.admin_id
            )
        );
    BEGIN
        IF cardinality(organization_ids) > 0 THEN
            PERFORM orgadmin_count_admins(organization_ids);
        END IF;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_organization_added
    AFTER INSERT ON orgadmin_organization
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_organization_added();

    CREATE OR REPLACE FUNCTION orgadmin_organization_changed()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        NEW.changed_at := STATEMENT_TIMESTAMP();
        RETURN NEW;
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_organization_changed
    BEFORE UPDATE OF {organization_columns} ON orgadmin_organization
    FOR EACH ROW
    WHEN ({organization_differs})
    EXECUTE FUNCTION orgadmin_organization_changed();

    CREATE OR REPLACE FUNCTION orgadmin_contacts_changed()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        organization_ids bigint[];
    BEGIN
        IF TG_OP = 'INSERT' THEN
            organization_ids := ARRAY(SELECT organization_id FROM new_rows);
        ELSIF TG_OP = 'DELETE' THEN
            organization_ids := ARRAY(SELECT organization_id FROM old_rows);
        ELSE
            organization_ids := ARRAY(
                SELECT unnest(
                    ARRAY[old_rows.organization_id, new_rows.organization_id]
                )
                FROM old_rows
                JOIN new_rows ON new_rows.id = old_rows.id
                WHERE {contact_rows_differ}
            );
        END IF;
        IF cardinality(organization_ids) > 0 THEN
            PERFORM 1
            FROM orgadmin_organization
            WHERE id IN (SELECT unnest(organization_ids))
            ORDER BY id
            FOR NO KEY UPDATE;
            UPDATE orgadmin_organization
            SET changed_at = STATEMENT_TIMESTAMP()
            WHERE id IN (SELECT unnest(organization_ids));
        END IF;
        RETURN NULL;
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_contacts_added
    AFTER INSERT ON orgadmin_contact
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_contacts_changed();

    CREATE OR REPLACE TRIGGER orgadmin_contacts_changed
    AFTER UPDATE ON orgadmin_contact
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_contacts_changed();

    CREATE OR REPLACE TRIGGER orgadmin_contacts_deleted
    AFTER DELETE ON orgadmin_contact
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT
    EXECUTE FUNCTION orgadmin_contacts_changed();
"""

DROP_POSTGRESQL = """
    DROP TRIGGER IF EXISTS orgadmin_members_joined ON orgadmin_user_groups;
    DROP TRIGGER IF EXISTS orgadmin_members_left ON orgadmin_user_groups;
    DROP TRIGGER IF EXISTS orgadmin_user_activated ON orgadmin_user;
    DROP TRIGGER IF EXISTS orgadmin_organization_added ON orgadmin_organization;
    DROP TRIGGER IF EXISTS orgadmin_organization_changed ON orgadmin_organization;
    DROP TRIGGER IF EXISTS orgadmin_contacts_added ON orgadmin_contact;
    DROP TRIGGER IF EXISTS orgadmin_contacts_changed ON orgadmin_contact;
    DROP TRIGGER IF EXISTS orgadmin_contacts_deleted ON orgadmin_contact;
    DROP FUNCTION IF EXISTS orgadmin_members_joined();
    DROP FUNCTION IF EXISTS orgadmin_members_left();
    DROP FUNCTION IF EXISTS orgadmin_user_activated();
    DROP FUNCTION IF EXISTS orgadmin_organization_added();
    DROP FUNCTION IF EXISTS orgadmin_organization_changed();
    DROP FUNCTION IF EXISTS orgadmin_contacts_changed();
    DROP FUNCTION IF EXISTS orgadmin_count_admins(bigint[]);
"""

# How SQLite stores the time that Django's Now() returns.
SQLITE_NOW = "STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')"

SQLITE_COUNT = """
    SELECT COUNT(*)
    FROM orgadmin_user_groups membership
    JOIN orgadmin_user member ON member.id = membership.user_id
    WHERE membership.group_id = orgadmin_organization.admin_id AND member.is_active
"""

# {name: what comes after CREATE TRIGGER <name>}
SQLITE = {
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
    "orgadmin_organization_changed": """
        AFTER UPDATE OF {organization_columns} ON orgadmin_organization
        WHEN {organization_differs}
        BEGIN
            UPDATE orgadmin_organization SET changed_at = {now} WHERE id = NEW.id;
        END
    """,
    "orgadmin_contacts_added": """
        AFTER INSERT ON orgadmin_contact
        BEGIN
            UPDATE orgadmin_organization
            SET changed_at = {now}
            WHERE id = NEW.organization_id;
        END
    """,
    "orgadmin_contacts_changed": """
        AFTER UPDATE OF {contact_columns} ON orgadmin_contact
        WHEN {contact_differs}
        BEGIN
            UPDATE orgadmin_organization
            SET changed_at = {now}
            WHERE id IN (OLD.organization_id, NEW.organization_id);
        END
    """,
    "orgadmin_contacts_deleted": """
        AFTER DELETE ON orgadmin_contact
        BEGIN
            UPDATE orgadmin_organization
            SET changed_at = {now}
            WHERE id = OLD.organization_id;
        END
    """,
}


def differs(columns, operator, before="OLD", after="NEW"):
    """Return the condition that one of the columns has changed."""
    conditions = [
        f"{before}.{column} {operator} {after}.{column}" for column in columns
    ]
    return " OR ".join(conditions)


def create_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        operator = "IS DISTINCT FROM"
    else:
        operator = "IS NOT"
    parts = {
        "organization_columns": ", ".join(ORGANIZATION_FIELDS),
        "organization_differs": differs(ORGANIZATION_FIELDS, operator),
        "contact_columns": ", ".join(CONTACT_FIELDS),
        "contact_differs": differs(CONTACT_FIELDS, operator),
        "contact_rows_differ": differs(
            CONTACT_FIELDS, operator, "old_rows", "new_rows"
        ),
        "now": SQLITE_NOW,
        "count": SQLITE_COUNT,
    }
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL.format(**parts), params=None)
        return
    for name, definition in SQLITE.items():
        statement = f"CREATE TRIGGER {name} {definition.format(**parts)}"
        schema_editor.execute(statement, params=None)


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP_POSTGRESQL, params=None)
        return
    for name in SQLITE:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}", params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0056_list_columns")]

    operations = [migrations.RunPython(create_triggers, drop_triggers)]
