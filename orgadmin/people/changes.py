"""RoleChange: a change that membership, mail, forms and imports exchange."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orgadmin.access.roles import Role
from orgadmin.models import Organization, User


@dataclass(frozen=True)
class MembershipEnd:
    """When a membership ends; None if it has no end."""

    at: datetime | None


@dataclass(frozen=True)
class RoleChange:
    """The role that a user is to have, or now has, in an organization.

    `end` is the end that the membership is to have. With None, it keeps the end that it
    has, also if the role changes, and a new membership has none. In a change that was
    made, `end` is the end that the membership now has.
    """

    user: User
    organization: Organization
    role: Role | None  # None removes the user from the organization
    previous: Role | None = None  # once it is made: the role that it replaces
    end: MembershipEnd | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When the membership is to end, or ends, as far as this change says it."""
        return self.end.at if self.end is not None else None

    @property
    def is_only_of_end(self) -> bool:
        """Whether a change that was made left the role as it was."""
        return self.role is not None and self.previous is self.role
