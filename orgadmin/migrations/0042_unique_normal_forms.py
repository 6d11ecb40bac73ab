"""The normal forms of usernames and email addresses, step 3 of 3: make them unique.

On PostgreSQL, the indexes are built without blocking reads or writes. If the migration
is interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import IntegrityError, migrations, models

from orgadmin.operations import create_index, drop_index

# {name of the index: its column in orgadmin_user}
INDEXES = {
    "unique_username_fold": "username_fold",
    "unique_email_fold": "email_fold",
}


def create(apps, schema_editor):
    for name, column in INDEXES.items():
        definition = f"orgadmin_user ({column}) WHERE {column} IS NOT NULL"
        try:
            create_index(schema_editor, name, definition, unique=True)
        except IntegrityError as error:
            raise IntegrityError(
                "Two people with the same name have come since the last step. Run"
                " “manage.py migrate orgadmin 0040” and “manage.py migrate”, which"
                " lists them."
            ) from error


def drop(apps, schema_editor):
    for name in INDEXES:
        drop_index(schema_editor, name)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0041_fill_normal_forms")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.AddConstraint(
                    "user",
                    models.UniqueConstraint(
                        fields=["username_fold"],
                        condition=models.Q(username_fold__isnull=False),
                        name="unique_username_fold",
                    ),
                ),
                migrations.AddConstraint(
                    "user",
                    models.UniqueConstraint(
                        fields=["email_fold"],
                        condition=models.Q(email_fold__isnull=False),
                        name="unique_email_fold",
                    ),
                ),
            ],
        )
    ]
