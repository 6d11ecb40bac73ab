"""Indexes that are created and dropped without blocking others, on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def create_index(
    schema_editor: BaseDatabaseSchemaEditor,
    name: str,
    definition: str,
    *,
    unique: bool = False,
) -> None:
    """Create an index on `definition`, such as "orgadmin_user (username)".

    On PostgreSQL, this blocks neither reads nor writes, and the migration needs
    `atomic = False`. An index with this name is dropped first, because an interrupted
    attempt may have left an invalid one.
    """
    drop_index(schema_editor, name)
    kind = "UNIQUE INDEX" if unique else "INDEX"
    concurrently = get_concurrently(schema_editor)
    schema_editor.execute(f"CREATE {kind} {concurrently} {name} ON {definition}")


def drop_index(schema_editor: BaseDatabaseSchemaEditor, name: str) -> None:
    """Drop an index if it exists.

    On PostgreSQL, this blocks neither reads nor writes, and the migration needs
    `atomic = False`.
    """
    concurrently = get_concurrently(schema_editor)
    schema_editor.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")


def get_concurrently(schema_editor: BaseDatabaseSchemaEditor) -> str:
    """Return the keyword that avoids blocking others, or "" on SQLite."""
    if schema_editor.connection.vendor == "postgresql":
        return "CONCURRENTLY"
    return ""
