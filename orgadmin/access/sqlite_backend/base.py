"""Django's backend for SQLite, except that triggers survive changes of their tables.

SQLite can change little about a table, so Django creates most changed tables anew. The
triggers of the table would then be lost, and SQLite refuses to do so if triggers of
other tables name it.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base, schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    def _remake_table(self, *args: Any, **options: Any) -> None:
        """Create a table anew. Drop all triggers before, and create them again."""
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
