"""The normal forms of usernames and email addresses, step 3 of 3: make them unique.

On PostgreSQL, the indexes are built without blocking reads or writes. If the migration
is interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import IntegrityError, migrations, models

# {name of the index: its column in orgadmin_user}
INDEXES = {
    "unique_username_fold": "username_fold",
    "unique_email_fold": "email_fold",
}


def create(apps, schema_editor):
    concurrently = get_concurrently(schema_editor)
    for name, column in INDEXES.items():
        schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")
        try:
            schema_editor.execute(
                f"CREATE UNIQUE INDEX {concurrently} {name}"
                f" ON orgadmin_user ({column}) WHERE {column} IS NOT NULL"
            )
        except IntegrityError as error:
            raise IntegrityError(
                "Two people with the same name have come since the last step. Run"
                " “manage.py migrate orgadmin 0040” and “manage.py migrate”, which"
                " lists them."
            ) from error


def drop(apps, schema_editor):
    concurrently = get_concurrently(schema_editor)
    for name in INDEXES:
        schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")


def get_concurrently(schema_editor):
    """Return the keyword that avoids blocking writes. SQLite has none."""
    if schema_editor.connection.vendor == "postgresql":
        return "CONCURRENTLY"
    return ""


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
