"""The search text, step 3 of 3: add its index, and other indexes that pages need.

On PostgreSQL, the indexes are built without blocking reads or writes. If the migration
is interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.

The trigram indexes require PostgreSQL's pg_trgm extension. If the extension is not
available, or if the database user may not create it, the migration prints a message and
skips these indexes. Searches then read the whole table. docs/scale.md explains how to
add the indexes later.
"""

from django.db import DatabaseError, migrations, models

from orgadmin.operations import create_index, drop_index

# {name of the index: the table and columns that it covers}
INDEXES = {
    "organization_reference": "orgadmin_organization (reference, id)",
    "contact_name": "orgadmin_contact (name, id)",
    "admin_log_object": "django_admin_log (object_id, content_type_id)",
}

# Django compares the search text with "contains", and the other columns with
# "icontains", which it writes as UPPER.
TRIGRAM_INDEXES = {
    "organization_search_trigram": """
        orgadmin_organization USING gin (search_text gin_trgm_ops)
    """,
    "group_name_trigram": """
        auth_group USING gin (UPPER(name) gin_trgm_ops)
    """,
    "user_name_trigram": """
        orgadmin_user USING gin (
            UPPER(username) gin_trgm_ops,
            UPPER(first_name) gin_trgm_ops,
            UPPER(last_name) gin_trgm_ops,
            UPPER(email) gin_trgm_ops
        )
    """,
}


def create(apps, schema_editor):
    indexes = dict(INDEXES)
    if create_trigram_extension(schema_editor):
        indexes.update(TRIGRAM_INDEXES)
    for name, definition in indexes.items():
        create_index(schema_editor, name, definition)


def drop(apps, schema_editor):
    for name in [*INDEXES, *TRIGRAM_INDEXES]:
        drop_index(schema_editor, name)


def create_trigram_extension(schema_editor):
    """Create the extension, and return whether trigram indexes can be created."""
    if schema_editor.connection.vendor != "postgresql":
        return False
    try:
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError as error:
        print(
            "\n    No trigram indexes: the pg_trgm extension cannot be created"
            f" ({str(error).strip()}).",
            flush=True,
        )
        return False
    return True


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [
        ("orgadmin", "0019_fill_search_text"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            # Only these indexes are declared by the models.
            state_operations=[
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["reference", "id"], name="organization_reference"
                    ),
                ),
                migrations.AddIndex(
                    "contact",
                    models.Index(fields=["name", "id"], name="contact_name"),
                ),
            ],
        )
    ]
