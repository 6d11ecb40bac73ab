"""RoleChange: what membership, mail, forms and imports pass to each other."""

from __future__ import annotations

from dataclasses import dataclass

from orgadmin.access.roles import Role
from orgadmin.models import Organization, User


@dataclass(frozen=True)
class RoleChange:
    """The role that a user is to have, or now has, in an organization."""

    user: User
    organization: Organization
    role: Role | None  # None: no role, so the user is removed
