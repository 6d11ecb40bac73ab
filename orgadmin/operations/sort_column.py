"""The operation that adds a column by which lists are sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import migrations

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class AddSortColumn(migrations.AddField):
    """Add a text column whose values are compared by code point on both databases.

    SQLite always compares by code point. PostgreSQL does so if the column has the
    collation "C". On SQLite, Django would rebuild the table, which
    copies all rows. This operation only adds the column.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        field = model._meta.get_field(self.name)
        if schema_editor.connection.vendor == "postgresql":
            field.db_collation = "C"
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        table = schema_editor.quote_name(model._meta.db_table)
        column = schema_editor.quote_name(field.column)
        kind = field.db_type(schema_editor.connection)
        schema_editor.execute(
            f"ALTER TABLE {table} ADD COLUMN {column} {kind} DEFAULT '' NOT NULL"
        )
