"""The operation that sets which fields of an organization update `changed_at`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orgadmin.operations.triggers import ReplaceTriggers

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

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


class UpdateChangedAt(ReplaceTriggers):
    """Set the columns of organizations whose changes update `changed_at`."""

    def replace_triggers(
        self, schema_editor: BaseDatabaseSchemaEditor, names: Sequence[str]
    ) -> None:
        vendor = schema_editor.connection.vendor
        if vendor == "postgresql":
            operator = "IS DISTINCT FROM"
        else:
            operator = "IS NOT"
            schema_editor.execute(
                "DROP TRIGGER IF EXISTS orgadmin_organization_changed"
            )
        conditions = [f"OLD.{column} {operator} NEW.{column}" for column in names]
        statement = ORGANIZATION_CHANGED[vendor].format(
            columns=", ".join(names), differs=" OR ".join(conditions)
        )
        schema_editor.execute(statement, params=None)
