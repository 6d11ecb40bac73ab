"""Django's SQLite backend, extended to preserve triggers when tables change.

SQLite supports few changes of tables, so Django rebuilds a table for most changes. The
triggers of the table would be lost. The rebuild would also fail if triggers of other
tables refer to the table.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base, schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    def _remake_table(self, *args: Any, **options: Any) -> None:
        """Drop all triggers, rebuild a table, and create the triggers again."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
        for name, _statement in triggers:
            self.execute(f"DROP TRIGGER {self.quote_name(name)}", params=None)
        # Any, because Django's type hints lack this private method.
        django_editor: Any = super()
        django_editor._remake_table(*args, **options)
        for _name, statement in triggers:
            self.execute(statement, params=None)


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
