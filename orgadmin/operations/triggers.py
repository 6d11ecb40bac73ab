"""The base of operations that replace database triggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import migrations

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import StateApps


class ReplaceTriggers(migrations.RunPython):
    """Replace triggers that depend on a list of names.

    `names` is the new list. `before` is the previous list, which is restored if the
    operation is reversed.
    """

    # RunPython's own deconstruct() returns its functions instead of our arguments.
    deconstruct = migrations.operations.base.Operation.deconstruct

    def __init__(self, names: Sequence[str], *, before: Sequence[str]) -> None:
        self.names = names
        self.before = before
        super().__init__(self._replace, self._restore)

    def _replace(
        self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        self.replace_triggers(schema_editor, self.names)

    def _restore(
        self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        self.replace_triggers(schema_editor, self.before)

    def replace_triggers(
        self, schema_editor: BaseDatabaseSchemaEditor, names: Sequence[str]
    ) -> None:
        raise NotImplementedError
