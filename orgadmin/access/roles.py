"""The role table, and the names of the groups. Plain Python: everything else loops over ROLES."""

import re
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

BASE_LENGTH = 50  # characters of the organization's name in the name of its groups


FIRST_FREE = 100  # below it the first free number is taken, from it on any free one


@dataclass(
    frozen=True, eq=False
)  # hashed by identity: labels are translated each time they are hashed
class Role:
    """What the members of one of an organization's groups may do with it."""

    key: str  # the one-to-one field on Organization
    suffix: str  # the last word of the group's name
    label: str
    actions: tuple[
        str, ...
    ]  # bare verbs; "view" is among them, as no right counts without it

    @property
    def attname(self):
        return f"{self.key}_id"


ROLES = (
    Role(
        "admin",
        "Admin",
        _("Admin"),
        ("view", "change", "view_confidential", "manage_members"),
    ),
    Role("reviewer", "Reviewer", _("Reviewer"), ("view",)),
)


ADMIN = ROLES[0]  # the role without which nobody looks after an organization


ROLES_BY_KEY = {role.key: role for role in ROLES}


# Every right there is, and what it lets people do; "delete" and "add" belong to platform staff alone.
ACTIONS = {
    "view": _("see it"),
    "change": _("change it"),
    "view_confidential": _("see and change confidential fields"),
    "manage_members": _("manage its people"),
    "add": _("create organizations"),
    "delete": _("delete it"),
}


# Fields that need the right "view_confidential" on top of "view" (and "change" to be changed).
CONFIDENTIAL_FIELDS = ("tax_id", "notes")


def group_base(name):
    """Return the part of an organization's name that its groups carry."""
    return name[:BASE_LENGTH].strip() or "Organization"


def group_name(base, role, number=0):
    return f"{base} {number} {role.suffix}" if number else f"{base} {role.suffix}"


def is_generated(name, organization_name, role, pk):
    """Tell whether `name` is one that save() or the data migration gives, not one made by hand."""
    base = re.escape(group_base(organization_name))
    return (
        re.fullmatch(rf"{base}( [1-9][0-9]*| {pk} [1-9][0-9]*)? {role.suffix}", name)
        is not None
    )
