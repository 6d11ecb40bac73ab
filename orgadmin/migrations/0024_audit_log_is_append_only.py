"""Make the audit log append-only with a trigger, on PostgreSQL.

The trigger allows two updates: sealing, which sets the position and the hash of a row
that has none, and erasing a person, which replaces names after
`SET LOCAL orgadmin.erasing = 'on'`.

In addition, the model refuses changes on all databases.
"""

from django.db import migrations

CREATE_TRIGGER = """
    CREATE OR REPLACE FUNCTION orgadmin_auditevent_refuse()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE'
            AND OLD.position IS NULL
            AND NEW.position IS NOT NULL
            AND to_jsonb(OLD) - 'position' - 'hash'
                = to_jsonb(NEW) - 'position' - 'hash'
        THEN
            RETURN NEW;
        END IF;
        IF TG_OP = 'UPDATE'
            AND current_setting('orgadmin.erasing', true) = 'on'
            AND to_jsonb(OLD) - 'user_name' - 'actor_name' - 'personal'
                = to_jsonb(NEW) - 'user_name' - 'actor_name' - 'personal'
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'The audit log is append-only.';
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_auditevent_is_append_only
    BEFORE UPDATE OR DELETE ON orgadmin_auditevent
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_auditevent_refuse();
"""

DROP_TRIGGER = """
    DROP TRIGGER IF EXISTS orgadmin_auditevent_is_append_only
    ON orgadmin_auditevent;

    DROP FUNCTION IF EXISTS orgadmin_auditevent_refuse();
"""


def create_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE_TRIGGER, params=None)


def drop_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP_TRIGGER, params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0023_audit_event")]

    operations = [migrations.RunPython(create_trigger, drop_trigger)]
