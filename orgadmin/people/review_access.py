"""The current access of the people in a review, which may differ from its items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orgadmin.access.roles import Role
from orgadmin.models import Membership, Organization, ReviewItem
from orgadmin.people.held_roles import map_group_owners


@dataclass(frozen=True)
class Access:
    """The role that someone has in an organization now."""

    role: Role
    ends_at: datetime | None = None

    def __str__(self) -> str:
        """Return a text with which a form says which access the person has seen."""
        end = self.ends_at.isoformat() if self.ends_at else "-"
        return f"{self.role.key} {end}"


def find_access(
    organization: Organization, items: Iterable[ReviewItem]
) -> dict[int, list[Access]]:
    """Return {user ID: current roles} for the people of these items.

    Runs one query.
    """
    access_by_user = find_access_to_each([organization], items)
    return {user: roles for (_pk, user), roles in access_by_user.items()}


def find_access_to_each(
    organizations: Collection[Organization], items: Iterable[ReviewItem]
) -> dict[tuple[int, int], list[Access]]:
    """Return {(organization ID, user ID): current roles} for the people of these items.

    Runs one query.
    """
    owners = map_group_owners(organizations)
    memberships = Membership.objects.current().filter(
        user__in={item.user_key for item in items}, group__in=owners
    )
    access_by_user: dict[tuple[int, int], list[Access]] = defaultdict(list)
    for membership in memberships:
        owner = owners[membership.group_id]
        access = Access(owner.role, membership.ends_at)
        access_by_user[owner.organization.pk, membership.user_id].append(access)
    return access_by_user


def choose_access(
    item: ReviewItem, access_by_user: Mapping[int, Sequence[Access]]
) -> Access | None:
    """Return the current access of an item's person.

    This is the role of the item if they still have it, or else the role that replaced
    it. Returns None if they no longer have a role.
    """
    return choose_role(item, access_by_user.get(item.user_key or 0, []))


def choose_role(item: ReviewItem, roles: Sequence[Access]) -> Access | None:
    """Return the role of the item if the person still has it, or else another one."""
    for access in roles:
        if access.role.key == item.role:
            return access
    return roles[0] if roles else None
