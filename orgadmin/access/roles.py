"""The role table and the names of groups. All code about roles loops over ROLES."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Collection

    from django_stubs_ext import StrOrPromise

BASE_LENGTH = 50  # characters of an organization's name that are used in group names

# save() uses the first free number below this one. If all of them are taken, it picks a
# larger number at random.
FIRST_RANDOM_NUMBER = 100


# eq=False: roles are compared and hashed by identity. Hashing the lazy label would
# translate it each time.
@dataclass(frozen=True, eq=False)
class Role:
    """What the members of one of an organization's groups may do with it."""

    key: str  # the name of the one-to-one field on Organization
    suffix: str  # the last word of the group's name
    label: StrOrPromise
    permissions: tuple[str, ...]  # keys of PERMISSIONS, including "view"
    description: StrOrPromise = ""  # in emails to people who get the role

    @property
    def attname(self) -> str:
        """The attribute of Organization with the ID of the role's group."""
        return f"{self.key}_id"

    def includes(self, other: Role) -> bool:
        """Return whether this role has every permission of another role."""
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

# Some checks are about this role, because every organization should have an admin.
ADMIN = ROLES[0]
ROLES_BY_KEY = {role.key: role for role in ROLES}

# {permission on an organization: what it allows people to do}. No role includes "add"
# or "delete".
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


# A permission that nobody has, not even a superuser.
UNKNOWN = "unknown"


# Cached because roles are compared by identity.
@functools.cache
def get_role(key: str) -> Role:
    """Return the role with a stored key, even if this release does not know the role.

    During an upgrade, the new release can store roles that the previous one does not
    know. A stored role can also have been removed. Pages show the key of such a role.
    Nobody may assign it, and no role includes it, because it needs a permission that
    nobody has. It has no group, so code that needs its group must skip it.
    """
    if key in ROLES_BY_KEY:
        return ROLES_BY_KEY[key]
    return Role(key=key, suffix=key, label=key, permissions=(UNKNOWN,))


def sort_by_rank(roles: Collection[Role]) -> list[Role]:
    """Return roles, those with the most permissions first.

    Roles with equally many permissions stay in their order.
    """
    return sorted(roles, key=lambda role: -len(role.permissions))


ROLES_BY_RANK = sort_by_rank(ROLES)


def find_strongest(roles: Collection[Role]) -> Role | None:
    """Return the role that comes first in ROLES_BY_RANK, or None without roles."""
    return min(roles, key=ROLES_BY_RANK.index, default=None)


def choose_default_role(roles: Collection[Role] = ROLES) -> str:
    """Return the key of the role that forms preselect, or "" without roles.

    This is the role that comes last in ROLES_BY_RANK.
    """
    weakest = max(roles, key=ROLES_BY_RANK.index, default=None)
    return weakest.key if weakest else ""


def codename(permission: str) -> str:
    """Return Django's codename of a permission: "view" is "view_organization"."""
    return f"{permission}_organization"


def group_base(organization_name: str) -> str:
    """Return the part of an organization's name that is used in group names."""
    return organization_name[:BASE_LENGTH].strip() or "Organization"


def group_name(base: str, role: Role, number: int = 0) -> str:
    """Return a group name such as "Acme Admin", or "Acme 2 Admin" with a number."""
    if number:
        return f"{base} {number} {role.suffix}"
    return f"{base} {role.suffix}"


def is_generated(name: str, organization_name: str, role: Role, pk: int) -> bool:
    """Return whether save() or the data migration could have given a group this name.

    `pk` is the organization's ID, which the data migration adds to names that are
    taken.
    """
    base = re.escape(group_base(organization_name))
    number = "[1-9][0-9]*"
    pattern = rf"{base}( {number}| {pk} {number})? {role.suffix}"
    return re.fullmatch(pattern, name) is not None
