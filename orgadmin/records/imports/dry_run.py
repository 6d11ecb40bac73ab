"""Determines what an import would do, and writes only the rows that this requires.

Most rows create an organization, or change a field that other rows are not compared
with. Their effects are known without writing them. This saves most of the time of an
import.
"""

from __future__ import annotations

from collections.abc import Sequence

from orgadmin.access.groups import plan_group_names
from orgadmin.models import Organization, User
from orgadmin.records.imports.planning import PlannedRow
from orgadmin.records.imports.writing import WrittenBatch, write_batch

# Fields by which later rows find organizations, or with which they are compared
COMPARED_FIELDS = frozenset(["name", "reference", "email", "tax_id"])


class DryWriter:
    """Replaces `write_batch()` in a dry run."""

    def __init__(self, *, actor: User | None) -> None:
        self.actor = actor
        # The names that the groups of earlier rows would get
        self.group_names: set[str] = set()

    def write(self, rows: Sequence[PlannedRow]) -> WrittenBatch:
        """Return what writing the rows would do. Raises what `write_batch()` raises."""
        needed: list[PlannedRow] = []
        others: list[PlannedRow] = []
        for row in rows:
            (needed if must_write(row) else others).append(row)
        written = write_batch(needed, actor=self.actor)
        for row in others:
            if row.is_new:
                written.created.append(row.organization)
            elif row.old_values:
                written.changed.append(row.organization)
        written.planned_groups.update(self._plan_groups(others))
        return written

    def _plan_groups(self, rows: Sequence[PlannedRow]) -> dict[int, list[str]]:
        """Return {line: names of the groups that its organization would get}."""
        new_rows = [row for row in rows if row.is_new]
        organizations = [row.organization for row in new_rows]
        names = plan_group_names(
            organizations, self.group_names, using=Organization.objects.db
        )
        return {row.line: found for row, found in zip(new_rows, names)}


def must_write(row: PlannedRow) -> bool:
    """Return whether the effects of this or of later rows depend on writing the row."""
    if row.people:
        return True
    return not row.is_new and not COMPARED_FIELDS.isdisjoint(row.old_values)
