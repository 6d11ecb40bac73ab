"""Find the organizations that people ask for a role without reading all requests.

On PostgreSQL, the index is built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations

from orgadmin.operations import create_index, drop_index

INDEX = "open_requests"


def create(apps, schema_editor):
    create_index(
        schema_editor,
        INDEX,
        "orgadmin_accessrequest (asked_at, organization_id, user_id)"
        " WHERE outcome = ''",
    )


def drop(apps, schema_editor):
    drop_index(schema_editor, INDEX)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0085_activity_indexes")]

    operations = [migrations.RunPython(create, drop)]
