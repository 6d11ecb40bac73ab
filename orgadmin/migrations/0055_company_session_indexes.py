"""Add the indexes that find the sessions of a company account.

On PostgreSQL, they are built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations, models

from orgadmin.operations import create_index, drop_index

# {name of the index: the column that it covers}
INDEXES = {
    "user_session_company_subject": "company_subject",
    "user_session_company_sid": "company_sid",
}


def create(apps, schema_editor):
    for name, column in INDEXES.items():
        definition = f"orgadmin_usersession ({column}) WHERE {column} IS NOT NULL"
        create_index(schema_editor, name, definition)


def drop(apps, schema_editor):
    for name in INDEXES:
        drop_index(schema_editor, name)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0054_company_sessions")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.AddIndex(
                    "usersession",
                    models.Index(
                        fields=["company_subject"],
                        name="user_session_company_subject",
                        condition=models.Q(company_subject__isnull=False),
                    ),
                ),
                migrations.AddIndex(
                    "usersession",
                    models.Index(
                        fields=["company_sid"],
                        name="user_session_company_sid",
                        condition=models.Q(company_sid__isnull=False),
                    ),
                ),
            ],
        )
    ]
