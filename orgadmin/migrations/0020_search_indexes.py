"""What a search compares, step 3 of 3: the indexes, and one for the history of an object, made while everybody goes on
working.

Where PostgreSQL has no pg_trgm, or this user may not create it, the trigram indexes are left out, and said so: search
then reads the whole table. docs/scale.md tells how to add them later."""

from django.db import DatabaseError, migrations, models

from orgadmin.operations import AddIndexOnline

INDEXES = {  # each as Django searches: contains for the search text, icontains for the others
    "organization_search_trigram": "orgadmin_organization USING gin (search_text gin_trgm_ops)",
    "group_name_trigram": "auth_group USING gin (UPPER(name) gin_trgm_ops)",
    "user_name_trigram": "orgadmin_user USING gin (UPPER(username) gin_trgm_ops, UPPER(first_name) gin_trgm_ops,"
    " UPPER(last_name) gin_trgm_ops, UPPER(email) gin_trgm_ops)",
}


LOG = "django_admin_log (object_id, content_type_id)"


def create_for_log(apps, schema_editor):
    concurrently = "CONCURRENTLY" if schema_editor.connection.vendor == "postgresql" else ""
    schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS admin_log_object")
    schema_editor.execute(f"CREATE INDEX {concurrently} admin_log_object ON {LOG}")


def drop_for_log(apps, schema_editor):
    schema_editor.execute("DROP INDEX IF EXISTS admin_log_object")


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        try:
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except DatabaseError as error:
            print(f"\n    No trigram indexes, as pg_trgm cannot be created: {str(error).strip()}", flush=True)
            return
        for name, definition in INDEXES.items():
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            schema_editor.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("orgadmin", "0019_fill_search_text"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        AddIndexOnline("organization", models.Index(fields=["reference", "id"], name="organization_reference")),
        AddIndexOnline("contact", models.Index(fields=["name", "id"], name="contact_name")),
        migrations.RunPython(create_for_log, drop_for_log),
        migrations.RunPython(create, drop),
    ]
