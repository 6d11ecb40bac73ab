"""Find the memberships that have ended without reading all of them.

On PostgreSQL, the index is built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations

from orgadmin.operations import create_index, drop_index

INDEX = "membership_ends"


def create(apps, schema_editor):
    create_index(
        schema_editor,
        INDEX,
        "orgadmin_user_groups (ends_at) WHERE ends_at IS NOT NULL",
    )


def drop(apps, schema_editor):
    drop_index(schema_editor, INDEX)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0066_membership_end")]

    operations = [migrations.RunPython(create, drop)]
