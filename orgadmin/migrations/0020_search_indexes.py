"""What a search compares, step 3 of 3: the indexes for it, and those for lists and for the history of an object. On
PostgreSQL they are made concurrently, while everybody goes on working; after an interruption it is run again, and
replaces the invalid index that PostgreSQL leaves.

Where PostgreSQL has no pg_trgm, or this user may not create it, the trigram indexes are left out, and said so: search
then reads the whole table. docs/scale.md tells how to add them later."""

from django.db import DatabaseError, migrations, models

INDEXES = {
    "organization_reference": "orgadmin_organization (reference, id)",
    "contact_name": "orgadmin_contact (name, id)",
    "admin_log_object": "django_admin_log (object_id, content_type_id)",
}
TRIGRAMS = {  # each as Django searches: contains for the search text, icontains for the others
    "organization_search_trigram": "orgadmin_organization USING gin (search_text gin_trgm_ops)",
    "group_name_trigram": "auth_group USING gin (UPPER(name) gin_trgm_ops)",
    "user_name_trigram": "orgadmin_user USING gin (UPPER(username) gin_trgm_ops, UPPER(first_name) gin_trgm_ops,"
    " UPPER(last_name) gin_trgm_ops, UPPER(email) gin_trgm_ops)",
}


def create(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    concurrently = "CONCURRENTLY" if is_postgresql else ""
    indexes = INDEXES
    if is_postgresql:
        try:
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            indexes = INDEXES | TRIGRAMS
        except DatabaseError as error:
            print(
                f"\n    No trigram indexes, as pg_trgm cannot be created: {str(error).strip()}",
                flush=True,
            )
    for name, definition in indexes.items():
        schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")
        schema_editor.execute(f"CREATE INDEX {concurrently} {name} ON {definition}")


def drop(apps, schema_editor):
    concurrently = (
        "CONCURRENTLY" if schema_editor.connection.vendor == "postgresql" else ""
    )
    for name in INDEXES | TRIGRAMS:
        schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("orgadmin", "0019_fill_search_text"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["reference", "id"], name="organization_reference"
                    ),
                ),
                migrations.AddIndex(
                    "contact", models.Index(fields=["name", "id"], name="contact_name")
                ),
            ],
        )
    ]
