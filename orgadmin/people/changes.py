"""RoleChange: a change that membership, mail, forms and imports exchange."""

from __future__ import annotations

from dataclasses import dataclass

from orgadmin.access.roles import Role
from orgadmin.models import Organization, User


@dataclass(frozen=True)
class RoleChange:
    """The role that a user is to have, or now has, in an organization."""

    user: User
    organization: Organization
    role: Role | None  # None removes the user from the organization
    previous: Role | None = None  # once it is made: the role that it replaces
