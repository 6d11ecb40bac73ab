"""Django's backend for SQLite, except that triggers survive changes of their tables.

SQLite can change little about a table, so Django rebuilds most tables that change. This
would lose the triggers of the table. It would also fail if triggers of other tables
name the table.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base, schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    def _remake_table(self, *args: Any, **options: Any) -> None:
        """Rebuild a table. Drop all triggers first, and create them again after."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
        for name, _statement in triggers:
            self.execute(f"DROP TRIGGER {self.quote_name(name)}", params=None)
        # Any, because the method is private.
        django_editor: Any = super()
        django_editor._remake_table(*args, **options)
        for _name, statement in triggers:
            self.execute(statement, params=None)


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
