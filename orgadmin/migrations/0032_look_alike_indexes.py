"""The keys by which names that look alike are found, step 3 of 3: add the indexes.

On PostgreSQL, they are built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations, models

from orgadmin.operations import create_index, drop_index

# {name of the index: the table and column that it covers}
INDEXES = {
    "organization_name_key": "orgadmin_organization (name_key)",
    "user_username_key": "orgadmin_user (username_key)",
}


def create(apps, schema_editor):
    for name, definition in INDEXES.items():
        create_index(schema_editor, name, definition)


def drop(apps, schema_editor):
    for name in INDEXES:
        drop_index(schema_editor, name)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0031_fill_look_alike_keys")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.AddIndex(
                    "organization",
                    models.Index(fields=["name_key"], name="organization_name_key"),
                ),
                migrations.AddIndex(
                    "user",
                    models.Index(fields=["username_key"], name="user_username_key"),
                ),
            ],
        )
    ]
