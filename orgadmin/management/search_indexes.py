"""The trigram indexes for searches, which require PostgreSQL's pg_trgm extension.

Migrations create these indexes if the extension is available. If it becomes available
later, the command `create_search_indexes` creates them. Running the migrations again is
not an option, because reversing them would lose data.
"""

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

EXTENSION = "pg_trgm"

# A search reads all pending entries of an index, which are not sorted in yet. This is
# the smallest possible limit for them, in kB (see migration 0095).
STORAGE = "WITH (gin_pending_list_limit = 64)"

# {name of the index: table and columns}, as in the migrations 0020 and 0063.
TRIGRAM_INDEXES = {
    "organization_search_trigram": """
        orgadmin_organization USING gin (search_text gin_trgm_ops)
    """,
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


class TrigramsUnavailable(Exception):
    """The database does not support trigram indexes, or lacks the extension."""


def create_missing_indexes(connection: BaseDatabaseWrapper) -> list[str]:
    """Create the trigram indexes that are missing, and return their names.

    This blocks neither reads nor writes. It must not run in a transaction. Raises
    `TrigramsUnavailable`.
    """
    if connection.vendor != "postgresql":
        raise TrigramsUnavailable("Only PostgreSQL has trigram indexes.")
    missing = find_missing_indexes(connection)
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
        except DatabaseError as error:
            raise TrigramsUnavailable(
                f"The {EXTENSION} extension cannot be created: {str(error).strip()}."
                " Install the package postgresql-contrib, or ask the owner of the"
                " database to create the extension."
            ) from error
        for name in missing:
            # An interrupted attempt may have left an invalid index.
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            definition = TRIGRAM_INDEXES[name]
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON {definition} {STORAGE}"
            )
    return missing


def find_missing_indexes(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of the trigram indexes that are missing or invalid.

    An index is invalid if its creation was interrupted.
    """
    query = """
        SELECT index_class.relname
        FROM pg_index
        JOIN pg_class index_class ON index_class.oid = pg_index.indexrelid
        WHERE pg_index.indisvalid
            AND index_class.relname = ANY(%s)
            AND pg_table_is_visible(index_class.oid)
    """
    with connection.cursor() as cursor:
        cursor.execute(query, [list(TRIGRAM_INDEXES)])
        existing = {name for (name,) in cursor.fetchall()}
    return [name for name in TRIGRAM_INDEXES if name not in existing]
