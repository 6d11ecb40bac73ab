"""RoleChange: a change of a person's role in an organization."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orgadmin.access.roles import Role
from orgadmin.models import Organization, User


@dataclass(frozen=True)
class MembershipEnd:
    """The end of a membership. `at` is None if it has no end."""

    at: datetime | None


@dataclass(frozen=True)
class RoleChange:
    """A change of a user's role in an organization, wanted or completed.

    In a wanted change, `end` is the new end of the membership. If it is None, the
    membership keeps its end, even if the role changes; a new membership gets no end. In
    a completed change, `end` is the end that the membership now has.
    """

    user: User
    organization: Organization
    role: Role | None  # None removes the user from the organization
    previous: Role | None = None  # completed changes: the old role
    end: MembershipEnd | None = None

    @property
    def ends_at(self) -> datetime | None:
        """The end of the membership, or None if it has no end or `end` is None."""
        return self.end.at if self.end is not None else None

    @property
    def is_only_of_end(self) -> bool:
        """Whether a completed change affected only the end, not the role."""
        return self.role is not None and self.previous is self.role
