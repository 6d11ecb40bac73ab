"""Find the invitations to an email address without reading all of them.

The home page looks for those of the person. On PostgreSQL, the index is built without
blocking reads or writes. If the migration is interrupted, PostgreSQL leaves an invalid
index. Running the migration again replaces that index.
"""

from django.db import migrations

from orgadmin.operations import create_index, drop_index

INDEX = "invitation_email"


def create(apps, schema_editor):
    create_index(schema_editor, INDEX, "orgadmin_invitation ((LOWER(email)))")


def drop(apps, schema_editor):
    drop_index(schema_editor, INDEX)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0077_imports")]

    operations = [migrations.RunPython(create, drop)]
