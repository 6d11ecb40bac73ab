"""The role table, and the names of the groups. Everything else loops over ROLES."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

BASE_LENGTH = 50  # characters of an organization's name that its groups carry

# save() takes the first free number below this one. If all of those are taken, it takes
# any free number above.
FIRST_RANDOM_NUMBER = 100


# Compared and hashed by identity: hashing a lazy label would translate it each time.
@dataclass(frozen=True, eq=False)
class Role:
    """What the members of one of an organization's groups may do with it."""

    key: str  # the name of the one-to-one field on Organization
    suffix: str  # the last word of the group's name
    label: StrOrPromise
    permissions: tuple[str, ...]  # as in PERMISSIONS; "view" must be one of them
    description: StrOrPromise = ""  # for people who get the role, in emails

    @property
    def attname(self) -> str:
        """The attribute of Organization that holds the ID of the role's group."""
        return f"{self.key}_id"

    def includes(self, other: Role) -> bool:
        """Return whether this role has every permission of another one, or is it."""
        return set(other.permissions) <= set(self.permissions)


ROLES = (
    Role(
        key="admin",
        suffix="Admin",
        label=_("Admin"),
        permissions=("view", "change", "view_confidential", "manage_members"),
        description=_(
            "Admins can view and edit the organization, with its confidential fields,"
            " and decide who else has access."
        ),
    ),
    Role(
        key="reviewer",
        suffix="Reviewer",
        label=_("Reviewer"),
        permissions=("view",),
        description=_(
            "Reviewers can view the organization, without its confidential fields, and"
            " cannot change anything."
        ),
    ),
)

# Every organization should have an active admin, so some checks are about this role.
ADMIN = ROLES[0]
ROLES_BY_KEY = {role.key: role for role in ROLES}

# Every permission on an organization, and what it allows people to do. Roles never
# include "add" and "delete": these belong to platform staff.
PERMISSIONS = {
    "view": _("view it"),
    "change": _("edit it"),
    "view_confidential": _("view and edit confidential fields"),
    "manage_members": _("manage its people"),
    "add": _("create organizations"),
    "delete": _("delete it"),
}

# Fields that require "view_confidential", in addition to "view" or "change".
CONFIDENTIAL_FIELDS = ("tax_id", "notes")


def codename(permission: str) -> str:
    """Return Django's codename of a permission: "view" is "view_organization"."""
    return f"{permission}_organization"


def group_base(organization_name: str) -> str:
    """Return the part of an organization's name that its groups carry."""
    return organization_name[:BASE_LENGTH].strip() or "Organization"


def group_name(base: str, role: Role, number: int = 0) -> str:
    """Return a group name such as "Acme Admin", or "Acme 2 Admin" with a number."""
    if number:
        return f"{base} {number} {role.suffix}"
    return f"{base} {role.suffix}"


def is_generated(name: str, organization_name: str, role: Role, pk: int) -> bool:
    """Return whether save() or the data migration could have given a group this name.

    `pk` is that of the organization. The data migration adds it to names that are
    taken.
    """
    base = re.escape(group_base(organization_name))
    number = "[1-9][0-9]*"
    pattern = rf"{base}( {number}| {pk} {number})? {role.suffix}"
    return re.fullmatch(pattern, name) is not None
