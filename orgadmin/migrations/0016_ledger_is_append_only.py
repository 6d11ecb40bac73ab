"""Make the membership log append-only with a trigger, on PostgreSQL.

In addition, the model refuses changes on all databases.
"""

from django.db import migrations

CREATE_TRIGGER = """
    CREATE OR REPLACE FUNCTION orgadmin_membershipevent_refuse()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        RAISE EXCEPTION 'The membership log is append-only. Add an event instead.';
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_membershipevent_is_append_only
    BEFORE UPDATE OR DELETE ON orgadmin_membershipevent
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_membershipevent_refuse();
"""

DROP_TRIGGER = """
    DROP TRIGGER IF EXISTS orgadmin_membershipevent_is_append_only
    ON orgadmin_membershipevent;

    DROP FUNCTION IF EXISTS orgadmin_membershipevent_refuse();
"""


def create_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE_TRIGGER, params=None)


def drop_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP_TRIGGER, params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0015_begin_ledger")]

    operations = [migrations.RunPython(create_trigger, drop_trigger)]
