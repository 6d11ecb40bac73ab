"""Add the indexes that the search on the whole site and recent activity need.

On PostgreSQL, they are built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index. Without the extension pg_trgm (see migration 0020), the trigram indexes are
skipped, and similar names are not found.
"""

from django.db import migrations

from orgadmin.operations import create_index, drop_index

# {name of the index: what it covers}. SQLite uses the first and the last one only if
# they have all columns of the query, and if their conditions are written like its own.
INDEXES = {
    "history_by_hand": """
        orgadmin_historicalorganization (history_id, history_change_reason)
        WHERE history_change_reason IS NULL
    """,
    "history_versions": "orgadmin_historicalorganization (id, history_id)",
    "event_not_imported": """
        orgadmin_membershipevent (id, source)
        WHERE NOT (source = '(import)')
            AND NOT (source = '(command import_organizations)')
    """,
}

TRIGRAM_INDEXES = {
    "organization_name_trigram": """
        orgadmin_organization USING gin (sort_name gin_trgm_ops)
    """,
    "contact_name_trigram": """
        orgadmin_contact USING gin (
            sort_name gin_trgm_ops,
            UPPER(role) gin_trgm_ops,
            UPPER(email) gin_trgm_ops
        )
    """,
}


def create(apps, schema_editor):
    indexes = dict(INDEXES)
    if has_trigrams(schema_editor.connection):
        indexes.update(TRIGRAM_INDEXES)
    for name, definition in indexes.items():
        create_index(schema_editor, name, definition)


def drop(apps, schema_editor):
    for name in [*INDEXES, *TRIGRAM_INDEXES]:
        drop_index(schema_editor, name)


def has_trigrams(connection):
    """Return whether an earlier migration could create the extension."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")
        return cursor.fetchone() is not None


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0062_fill_monthly_counts")]

    operations = [migrations.RunPython(create, drop)]
