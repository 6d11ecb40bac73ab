"""Read the memberships of a person, with their ends, from an index alone.

The access rule does so on every page. Without the end in the index, PostgreSQL would
look each membership up in the table: with a million organizations, a page of the list
would take many times as long.

On PostgreSQL, the index is built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations

from orgadmin.operations import create_index, drop_index

INDEX = "membership_of_user"
COLUMNS = {
    "postgresql": "(user_id, group_id) INCLUDE (ends_at)",
    "sqlite": "(user_id, group_id, ends_at)",
}


def create(apps, schema_editor):
    columns = COLUMNS[schema_editor.connection.vendor]
    create_index(schema_editor, INDEX, f"orgadmin_user_groups {columns}")


def drop(apps, schema_editor):
    drop_index(schema_editor, INDEX)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0069_bulk_job")]

    operations = [migrations.RunPython(create, drop)]
