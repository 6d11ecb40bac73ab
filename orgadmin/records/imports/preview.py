"""Describes the effects of each row of an import, for previews and dry runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from orgadmin.access.roles import ROLES, get_role
from orgadmin.models import Invitation, Organization
from orgadmin.people.changes import RoleChange
from orgadmin.people.ends import plan_end
from orgadmin.records.columns import FIELDS
from orgadmin.records.imports.planning import PlannedRow
from orgadmin.records.imports.writing import WrittenBatch

MAX_VALUE_SHOWN = 200  # characters of a value


@dataclass(frozen=True)
class CellPreview:
    """A value that an import writes."""

    field: str
    old: str  # empty if `is_new` is True
    new: str
    is_new: bool  # whether the organization, or the role of a person, is new
    words: list[str]  # what is suspicious about it

    @property
    def is_cleared(self) -> bool:
        return bool(self.old) and not self.new

    def __str__(self) -> str:
        values = {"field": self.field, "old": self.old, "new": self.new}
        if self.is_new:
            text = _("%(field)s: “%(new)s”") % values
        else:
            text = _("%(field)s: “%(old)s” → “%(new)s”") % values
        notes = [str(word) for word in self.words]
        if self.is_cleared:
            notes.insert(0, _("emptied"))
        return f"{text} ({', '.join(notes)})" if notes else text


@dataclass(frozen=True)
class RowPreview:
    """The effects of a row on an organization."""

    line: int
    organization: Organization
    effects: list[str]  # for people, such as "phone: “1” → “2”"
    cells: list[CellPreview]
    is_new: bool
    old_values: dict[str, Any]  # {field that changes: value before}
    people: PeopleEffects

    @property
    def title(self) -> str:
        """What the row is about, as text."""
        return str(self.organization)

    @property
    def effects_to_compare(self) -> list[str]:
        """The effects, in a form that is the same each time the import is planned.

        Leaves out the names of new groups. If a hundred organizations have the same
        name, the numbers in these names are random.
        """
        return ["created", *self.effects[1:]] if self.is_new else self.effects


@dataclass
class PeopleEffects:
    """What an import changes about the people of an organization."""

    role_changes: list[RoleChange] = field(default_factory=list)
    # The previous end of the membership in each role change
    previous_ends: list[datetime | None] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)


def preview_batch(
    rows: Sequence[PlannedRow], written: WrittenBatch
) -> Iterator[RowPreview]:
    """Yield a preview of each row that changes something.

    Runs one query, or several on SQLite, which limits the parameters of a query.
    """
    groups = load_groups(written.created)
    effects_on_people = list_texts_about_people(written)
    people = collect_people(written)
    for row in rows:
        cells = list_cells(row)
        effects = []
        if row.is_new:
            names = written.planned_groups.get(row.line)
            if names is None:
                names = list_group_names(row.organization, groups)
            effects.append(describe_creation(names))
        effects += [str(cell) for cell in cells]
        effects += effects_on_people[row.organization.pk]
        if effects:
            yield RowPreview(
                line=row.line,
                organization=row.organization,
                effects=effects,
                cells=cells,
                is_new=row.is_new,
                old_values={} if row.is_new else row.old_values,
                people=people[row.organization.pk],
            )


def collect_people(written: WrittenBatch) -> dict[int, PeopleEffects]:
    """Return {organization ID: changes of its people}."""
    people: dict[int, PeopleEffects] = defaultdict(PeopleEffects)
    for change in written.role_changes:
        pk = change.organization.pk
        end = written.previous_ends.get((change.user.pk, pk))
        people[pk].role_changes.append(change)
        people[pk].previous_ends.append(end)
    for invitation in written.invitations:
        people[invitation.organization_id].invitations.append(invitation)
    return people


def load_groups(organizations: Sequence[Organization]) -> dict[int, Group]:
    """Return the groups of the organizations as {ID: group}.

    `prefetch_related_objects()` would build one OR per organization, and SQLite does
    not support such deep expressions.
    """
    group_ids: list[int | None] = []
    for organization in organizations:
        if organization.pk is not None:
            group_ids += organization.group_ids
    return Group.objects.in_bulk(group_ids)


def list_group_names(organization: Organization, groups: dict[int, Group]) -> list[str]:
    return [groups[getattr(organization, role.attname)].name for role in ROLES]


def describe_creation(group_names: Sequence[str]) -> str:
    names = [_("“%s”") % name for name in group_names]
    return _("created, with the groups %s") % ", ".join(names)


def list_cells(row: PlannedRow) -> list[CellPreview]:
    """Return the values that a row writes, without the name of a new organization."""
    words = defaultdict(list)
    for warning in row.warnings:
        words[warning.field].append(warning.word)
    cells = []
    for name in FIELDS:
        new_value = getattr(row.organization, name) or ""
        if row.is_new:
            is_written = bool(new_value) and (name != "name" or bool(words[name]))
        else:
            is_written = name in row.old_values
        if is_written:
            old_value = row.old_values.get(name) or ""
            cells.append(
                CellPreview(
                    field=name,
                    old="" if row.is_new else shorten(old_value),
                    new=shorten(new_value),
                    is_new=row.is_new,
                    words=words[name],
                )
            )
    return cells


def shorten(value: str) -> str:
    return value if len(value) <= MAX_VALUE_SHOWN else f"{value[:MAX_VALUE_SHOWN]}…"


def list_texts_about_people(written: WrittenBatch) -> dict[int, list[str]]:
    """Return {organization ID: texts about who gets which role and who is invited}."""
    effects: dict[int, list[str]] = defaultdict(list)
    for change in written.role_changes:
        if change.role is not None:  # an import never removes anyone
            values = {
                "user": change.user,
                "role": change.role.label,
                "day": change.end and plan_end(change.end.at),
            }
            text = choose_text_about_change(change) % values
            effects[change.organization.pk].append(text)
    for invitation in written.invitations:
        values = {
            "email": invitation.email,
            "role": get_role(invitation.role).label,
            "day": plan_end(invitation.membership_ends_at),
        }
        text = _("%(email)s is invited as %(role)s")
        if values["day"] is not None:
            text = _("%(email)s is invited as %(role)s, until %(day)s")
        effects[invitation.organization_id].append(text % values)
    return effects


def choose_text_about_change(change: RoleChange) -> str:
    if change.is_only_of_end:
        return _("%(user)s stays %(role)s, now until %(day)s")
    if change.ends_at is not None:
        return _("%(user)s becomes %(role)s, until %(day)s")
    return _("%(user)s becomes %(role)s")
