"""When people's roles end, step 4 of 4: find organizations whose admins end.

On PostgreSQL, the index is built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations, models

from orgadmin.operations import create_index, drop_index

INDEX = "unarchived_admins_end"
DEFINITION = """
    orgadmin_organization (admins_end_at)
    WHERE archived_at IS NULL AND admins_end_at IS NOT NULL
"""


def create(apps, schema_editor):
    create_index(schema_editor, INDEX, DEFINITION)


def drop(apps, schema_editor):
    drop_index(schema_editor, INDEX)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0083_fill_role_ends")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["admins_end_at"],
                        name=INDEX,
                        condition=models.Q(archived_at=None)
                        & models.Q(admins_end_at__isnull=False),
                    ),
                ),
            ],
        )
    ]
