"""On PostgreSQL a trigger refuses to change or remove what stands in the ledger; elsewhere the model does."""

from django.db import migrations

CREATE = """
CREATE OR REPLACE FUNCTION orgadmin_membershipevent_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is append-only: add an event that says what is so now.';
END $$;
CREATE OR REPLACE TRIGGER orgadmin_membershipevent_is_append_only BEFORE UPDATE OR DELETE ON orgadmin_membershipevent
FOR EACH ROW EXECUTE FUNCTION orgadmin_membershipevent_refuse();
"""
DROP = """
DROP TRIGGER IF EXISTS orgadmin_membershipevent_is_append_only ON orgadmin_membershipevent;
DROP FUNCTION IF EXISTS orgadmin_membershipevent_refuse();
"""


def run(sql):
    def run_on_postgresql(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql, params=None)

    return run_on_postgresql


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0015_begin_ledger")]

    operations = [migrations.RunPython(run(CREATE), run(DROP))]
