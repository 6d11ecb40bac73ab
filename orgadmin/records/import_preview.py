"""Describes the effects of each row of an import, for previews and dry runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.models import Organization
from orgadmin.records.import_planning import PlannedRow
from orgadmin.records.import_writing import WrittenBatch


@dataclass(frozen=True)
class RowPreview:
    """The effects of a row on an organization, such as "phone: “1” → “2”"."""

    line: int
    organization: Organization
    effects: list[str]


def preview_batch(
    rows: Sequence[PlannedRow], written: WrittenBatch
) -> Iterator[RowPreview]:
    """Yield a preview of each row that changes something.

    Runs one query, or a few on SQLite, which limits the parameters of a query.
    """
    groups = load_groups(written.created)
    effects_on_people = describe_people(written)
    for row in rows:
        if row.is_new:
            effects = [describe_creation(row.organization, groups)]
        else:
            effects = describe_changes(row)
        effects += effects_on_people[row.organization.pk]
        if effects:
            yield RowPreview(row.line, row.organization, effects)


def load_groups(organizations: Sequence[Organization]) -> dict[int, Group]:
    """Return the groups of the organizations as {id: group}.

    `prefetch_related_objects()` would build one OR per organization, and SQLite refuses
    an expression that is so deep.
    """
    group_ids = []
    for role in ROLES:
        group_ids += [getattr(row, role.attname) for row in organizations]
    return Group.objects.in_bulk(group_ids)


def describe_creation(organization: Organization, groups: dict[int, Group]) -> str:
    names = []
    for role in ROLES:
        names.append(_("“%s”") % groups[getattr(organization, role.attname)])
    return _("created, with the groups %s") % ", ".join(names)


def describe_changes(row: PlannedRow) -> list[str]:
    effects = []
    for name, old_value in row.old_values.items():
        new_value = getattr(row.organization, name)
        text = _("%(field)s: “%(old)s” → “%(new)s”")
        values = {"field": name, "old": old_value or "", "new": new_value or ""}
        effects.append(text % values)
    return effects


def describe_people(written: WrittenBatch) -> dict[int, list[str]]:
    """Return {organization ID: effects}: who gets which role, and who is invited."""
    effects: dict[int, list[str]] = defaultdict(list)
    for change in written.role_changes:
        if change.role is not None:  # an import never removes anyone
            text = _("%(user)s becomes %(role)s") % {
                "user": change.user,
                "role": change.role.label,
            }
            effects[change.organization.pk].append(text)
    for invitation in written.invitations:
        text = _("%(email)s is invited as %(role)s") % {
            "email": invitation.email,
            "role": ROLES_BY_KEY[invitation.role].label,
        }
        effects[invitation.organization_id].append(text)
    return effects
