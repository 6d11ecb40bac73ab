"""Make later decisions of access reviews unchangeable with a trigger, on PostgreSQL.

It is the same as for the first decisions. In addition, the models refuse changes on all
databases.
"""

from django.db import migrations

CREATE_TRIGGER = """
    CREATE OR REPLACE TRIGGER orgadmin_laterdecision_is_evidence
    BEFORE UPDATE OR DELETE ON orgadmin_laterdecision
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_review_refuse('actor_name', 'reason');
"""

DROP_TRIGGER = """
    DROP TRIGGER IF EXISTS orgadmin_laterdecision_is_evidence ON orgadmin_laterdecision;
"""


def create_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE_TRIGGER, params=None)


def drop_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP_TRIGGER, params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0079_later_decisions")]

    operations = [migrations.RunPython(create_trigger, drop_trigger)]
