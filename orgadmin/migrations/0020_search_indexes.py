"""The search text, step 3 of 3: its index, and other indexes that lists and pages need.

On PostgreSQL, they are built while everybody can go on working. If that is interrupted,
the migration can be run again, and replaces the invalid index that PostgreSQL leaves.

The trigram indexes require PostgreSQL's pg_trgm extension. If the extension is not
available, or this user may not create it, the migration prints that, and leaves them
out. A search then reads the whole table. docs/scale.md says how to add them later.
"""

from django.db import DatabaseError, migrations, models

# {name: what is indexed}
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
    concurrently = get_concurrently(schema_editor)
    for name, definition in indexes.items():
        schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")
        schema_editor.execute(f"CREATE INDEX {concurrently} {name} ON {definition}")


def drop(apps, schema_editor):
    concurrently = get_concurrently(schema_editor)
    for name in [*INDEXES, *TRIGRAM_INDEXES]:
        schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")


def create_trigram_extension(schema_editor):
    """Create the extension, and return whether there are trigram indexes."""
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


def get_concurrently(schema_editor):
    """Return the keyword for building indexes without locking, which SQLite lacks."""
    if schema_editor.connection.vendor == "postgresql":
        return "CONCURRENTLY"
    return ""


class Migration(migrations.Migration):
    # PostgreSQL builds no index concurrently in a transaction.
    atomic = False

    dependencies = [
        ("orgadmin", "0019_fill_search_text"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            # Only indexes that the models declare.
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
