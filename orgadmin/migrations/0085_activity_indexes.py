"""Let recent activity skip what bulk changes did in the membership log.

On PostgreSQL, the index is built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations

from orgadmin.operations import create_index, drop_index

# SQLite uses it only if it has all columns of the query, and if its condition is written
# like that of the query.
INDEX = "event_by_hand"
DEFINITION = """
    orgadmin_membershipevent (id, source)
    WHERE NOT (source = '(import)')
        AND NOT (source = '(command import_organizations)')
        AND NOT (source = '(bulk change)')
"""

OLD_INDEX = "event_not_imported"
OLD_DEFINITION = """
    orgadmin_membershipevent (id, source)
    WHERE NOT (source = '(import)')
        AND NOT (source = '(command import_organizations)')
"""


def replace_index(apps, schema_editor):
    create_index(schema_editor, INDEX, DEFINITION)
    drop_index(schema_editor, OLD_INDEX)


def restore_index(apps, schema_editor):
    create_index(schema_editor, OLD_INDEX, OLD_DEFINITION)
    drop_index(schema_editor, INDEX)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0084_role_end_index")]

    operations = [migrations.RunPython(replace_index, restore_index)]
