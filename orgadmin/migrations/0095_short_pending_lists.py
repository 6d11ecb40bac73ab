"""Keep searches fast right after many changes, on PostgreSQL.

A trigram index first collects changes in a list, up to 4 MB long by default, and each
search reads all of this list: 60 pages took 4 ms for each index, the rest of the search
less than 1 ms. Now the list has 8 pages at most. Importing 30,000 organizations takes as
long as before (without any list, 40 percent longer).
"""

from django.db import migrations

# PostgreSQL's smallest value
LIMIT = "gin_pending_list_limit = 64"  # kB

# As migrations 0020 and 0063 name them
TRIGRAM_INDEXES = [
    "organization_search_trigram",
    "organization_name_trigram",
    "contact_name_trigram",
    "group_name_trigram",
    "user_name_trigram",
]


def shorten(apps, schema_editor):
    for name in list_trigram_indexes(schema_editor):
        schema_editor.execute(f"ALTER INDEX {name} SET ({LIMIT})")
        schema_editor.execute(f"SELECT gin_clean_pending_list('{name}')")


def reset(apps, schema_editor):
    for name in list_trigram_indexes(schema_editor):
        schema_editor.execute(f"ALTER INDEX {name} RESET (gin_pending_list_limit)")


def list_trigram_indexes(schema_editor):
    """Return the names of the trigram indexes that exist."""
    if schema_editor.connection.vendor != "postgresql":
        return []
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname
            FROM pg_class
            WHERE relname = ANY(%s)
                AND relkind = 'i'
                AND pg_table_is_visible(oid)
            """,
            [TRIGRAM_INDEXES],
        )
        return [name for (name,) in cursor.fetchall()]


class Migration(migrations.Migration):
    # Each statement is a transaction of its own, so that its lock is short.
    atomic = False

    dependencies = [("orgadmin", "0094_count_whoever_leaves")]

    operations = [migrations.RunPython(shorten, reset)]
