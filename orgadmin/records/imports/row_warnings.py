"""Warnings about the changes of a row, compared with the current values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from orgadmin.access.roles import PERMISSIONS, ROLES, Role
from orgadmin.models import Organization
from orgadmin.records.columns import ROLE_COLUMNS
from orgadmin.records.imports.cleaning import ImportRow
from orgadmin.records.imports.header import Header
from orgadmin.records.imports.loading import StoredObjects
from orgadmin.records.imports.problems import printable
from orgadmin.records.imports.suspicions import (
    ALMOST_SAME_REFERENCE,
    LOSES_ROLE,
    ImportWarning,
    compare_values,
)

if TYPE_CHECKING:
    from orgadmin.records.imports.planning import PlannedPerson


def find_cell_warnings(
    header: Header, row: ImportRow, is_new: bool, old_values: Mapping[str, Any]
) -> list[ImportWarning]:
    """Return the warnings about cells that change something."""
    warnings = [each for each in row.warnings if is_new or each.field in old_values]
    for name, old_value in old_values.items():
        new_value = row.values[name] or ""
        for suspicion in compare_values(name, old_value or "", new_value):
            title = header.find_title(name)
            detail = _("The current value is “%s”.") % printable(old_value)
            warnings.append(
                ImportWarning(
                    suspicion,
                    row.line,
                    column=title,
                    value=new_value,
                    field=name,
                    detail=detail,
                )
            )
    return warnings


def find_almost_same_reference(
    header: Header, row: ImportRow, stored: StoredObjects
) -> list[ImportWarning]:
    """Return a warning if other references differ only in leading zeros."""
    reference = row.reference or ""
    found = stored.almost_same_references.get(reference.lstrip("0"), [])
    if not found or reference in found:
        return []
    warning = ImportWarning(
        ALMOST_SAME_REFERENCE,
        row.line,
        column=header.find_title("reference"),
        value=reference,
        field="reference",
        detail=_("It is “%s”.") % printable(found[0]),
    )
    return [warning]


def find_lost_roles(
    header: Header,
    row: ImportRow,
    organization: Organization,
    people: Sequence[PlannedPerson],
    stored: StoredObjects,
) -> list[ImportWarning]:
    """Return a warning for each role that a person has and that the row downgrades.

    This is the case if the new role lacks a permission of the current role.
    """
    warnings = []
    for person in people:
        if person.user is None:
            continue
        for role in ROLES:
            lost = [
                name for name in role.permissions if name not in person.role.permissions
            ]
            membership = (person.user.pk, getattr(organization, role.attname))
            if not lost or membership not in stored.memberships:
                continue
            title = header.find_title(find_column(person.role))
            warnings.append(
                ImportWarning(
                    LOSES_ROLE,
                    row.line,
                    title,
                    person.email,
                    detail=describe_lost(role, lost),
                )
            )
    return warnings


def describe_lost(role: Role, permissions: Iterable[str]) -> str:
    """Return what a person with a role can no longer do without these permissions."""
    text = _(
        "The person is %(role)s now. In the new role, they can no longer:"
        " %(permissions)s."
    )
    labels = [str(PERMISSIONS[permission]) for permission in permissions]
    return text % {"role": role.label, "permissions": ", ".join(labels)}


def find_column(role: Role) -> str:
    """Return the column for people with a role."""
    return next(column for column, each in ROLE_COLUMNS.items() if each == role)
