"""Let the membership log forget the name of an erased person, on PostgreSQL.

After `SET LOCAL orgadmin.erasing = 'on'`, the trigger allows updates that only change
names and reasons. The audit log has had the same rule since 0024.
"""

from django.db import migrations

ALLOW_ERASING = """
    CREATE OR REPLACE FUNCTION orgadmin_membershipevent_refuse()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE'
            AND current_setting('orgadmin.erasing', true) = 'on'
            AND to_jsonb(OLD) - 'user_name' - 'actor_name' - 'reason'
                = to_jsonb(NEW) - 'user_name' - 'actor_name' - 'reason'
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'The membership log is append-only. Add an event instead.';
    END $$;
"""

# The function of 0016.
REFUSE_ALL = """
    CREATE OR REPLACE FUNCTION orgadmin_membershipevent_refuse()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        RAISE EXCEPTION 'The membership log is append-only. Add an event instead.';
    END $$;
"""


def allow_erasing(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(ALLOW_ERASING, params=None)


def refuse_all(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(REFUSE_ALL, params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0026_encrypt_second_factors")]

    operations = [migrations.RunPython(allow_erasing, refuse_all)]
