"""The operation that sets which fields of an organization update `changed_at`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import migrations

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import StateApps

ORGANIZATION_CHANGED = {
    "postgresql": """
        CREATE OR REPLACE TRIGGER orgadmin_organization_changed
        BEFORE UPDATE OF {columns} ON orgadmin_organization
        FOR EACH ROW
        WHEN ({differs})
        EXECUTE FUNCTION orgadmin_organization_changed();
    """,
    "sqlite": """
        CREATE TRIGGER orgadmin_organization_changed
        AFTER UPDATE OF {columns} ON orgadmin_organization
        WHEN {differs}
        BEGIN
            UPDATE orgadmin_organization
            SET changed_at = STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')
            WHERE id = NEW.id;
        END
    """,
}


class UpdateChangedAt(migrations.RunPython):
    """Set the columns of organizations whose changes update `changed_at`.

    `columns` is the new list of columns. `before` is the previous list, which is
    restored if the operation is reversed.
    """

    # RunPython's own deconstruct() returns its functions instead of our arguments.
    deconstruct = migrations.operations.base.Operation.deconstruct

    def __init__(self, columns: Sequence[str], *, before: Sequence[str]) -> None:
        self.columns = columns
        self.before = before
        super().__init__(self._update, self._restore)

    def _update(self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        self._replace_trigger(schema_editor, self.columns)

    def _restore(
        self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        self._replace_trigger(schema_editor, self.before)

    def _replace_trigger(
        self, schema_editor: BaseDatabaseSchemaEditor, columns: Sequence[str]
    ) -> None:
        vendor = schema_editor.connection.vendor
        if vendor == "postgresql":
            operator = "IS DISTINCT FROM"
        else:
            operator = "IS NOT"
            schema_editor.execute(
                "DROP TRIGGER IF EXISTS orgadmin_organization_changed"
            )
        conditions = [f"OLD.{column} {operator} NEW.{column}" for column in columns]
        statement = ORGANIZATION_CHANGED[vendor].format(
            columns=", ".join(columns), differs=" OR ".join(conditions)
        )
        schema_editor.execute(statement, params=None)
