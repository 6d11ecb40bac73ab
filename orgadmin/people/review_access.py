"""The access that the people of a review have now, which may have changed since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orgadmin.access.roles import Role
from orgadmin.models import Membership, Organization, ReviewItem
from orgadmin.people.held_roles import map_owners


@dataclass(frozen=True)
class Access:
    """The role that someone has in an organization at the moment."""

    role: Role
    ends_at: datetime | None = None

    def __str__(self) -> str:
        """Return what a form sends back, to show which access the person has seen."""
        end = self.ends_at.isoformat() if self.ends_at else "-"
        return f"{self.role.key} {end}"


def find_access(
    organization: Organization, items: Iterable[ReviewItem]
) -> dict[int, list[Access]]:
    """Return {user ID: the roles that they have now} of the people of items."""
    access_of = find_access_to_each([organization], items)
    return {user: roles for (_pk, user), roles in access_of.items()}


def find_access_to_each(
    organizations: Collection[Organization], items: Iterable[ReviewItem]
) -> dict[tuple[int, int], list[Access]]:
    """Return {(organization ID, user ID): the roles that they have now}. One query."""
    owners = map_owners(organizations)
    memberships = Membership.objects.current().filter(
        user__in={item.user_key for item in items}, group__in=owners
    )
    access_of: dict[tuple[int, int], list[Access]] = defaultdict(list)
    for membership in memberships:
        owner = owners[membership.group_id]
        access = Access(owner.role, membership.ends_at)
        access_of[owner.organization.pk, membership.user_id].append(access)
    return access_of


def choose_access(
    item: ReviewItem, access_of: Mapping[int, Sequence[Access]]
) -> Access | None:
    """Return the access that an item is about now: another role may have replaced it.

    None means that the person has none any more.
    """
    return choose_role(item, access_of.get(item.user_key or 0, []))


def choose_role(item: ReviewItem, roles: Sequence[Access]) -> Access | None:
    for access in roles:
        if access.role.key == item.role:
            return access
    return roles[0] if roles else None
