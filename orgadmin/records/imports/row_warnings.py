"""The warnings about what a row would change, compared with what is there."""

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
    compare,
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
        for suspicion in compare(name, old_value or "", new_value):
            title = header.find_title(name)
            detail = _("The present value is “%s”.") % printable(old_value)
            warnings.append(
                ImportWarning(suspicion, row.line, title, new_value, name, detail)
            )
    return warnings


def find_almost_same_reference(
    header: Header, row: ImportRow, stored: StoredObjects
) -> list[ImportWarning]:
    """Return a warning if other references differ only in zeros at the start."""
    reference = row.reference or ""
    found = stored.almost_same_references.get(reference.lstrip("0"), [])
    if not found or reference in found:
        return []
    title = header.find_title("reference")
    detail = _("It is “%s”.") % printable(found[0])
    suspicion = ALMOST_SAME_REFERENCE
    return [ImportWarning(suspicion, row.line, title, reference, "reference", detail)]


def find_lost_roles(
    header: Header,
    row: ImportRow,
    organization: Organization,
    people: Sequence[PlannedPerson],
    stored: StoredObjects,
) -> list[ImportWarning]:
    """Return a warning for each person who may do less in their new role."""
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
    """Return what someone with a role can no longer do without these permissions."""
    text = _("The person is %(role)s now, and can then no longer: %(permissions)s.")
    labels = [str(PERMISSIONS[permission]) for permission in permissions]
    return text % {"role": role.label, "permissions": ", ".join(labels)}


def find_column(role: Role) -> str:
    """Return the column for the people of a role."""
    return next(column for column, each in ROLE_COLUMNS.items() if each == role)
