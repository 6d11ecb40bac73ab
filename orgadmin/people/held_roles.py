"""Finds the current roles of many people, and the organizations of groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orgadmin.access.batches import split_into_batches
from orgadmin.access.ends import show_end
from orgadmin.access.roles import ROLES, Role, find_strongest
from orgadmin.models import Membership, Organization, User

BATCH = 5_000  # IDs in one query, below SQLite's limit of 32,766 parameters


@dataclass(frozen=True)
class HeldRole:
    """A role and its end. `ends_at` is None if it has no end."""

    role: Role
    ends_at: datetime | None = None

    @property
    def last_day(self) -> str:
        """The last day of the role, in the site's time zone; "" if it has no end."""
        return show_end(self.ends_at) if self.ends_at is not None else ""

    def permits_more_than(self, other: HeldRole) -> bool:
        """Return whether this role is the stronger one, whatever the ends."""
        if self.role is other.role:
            return False
        return find_strongest([self.role, other.role]) is self.role

    def lasts_longer_than(self, other: HeldRole) -> bool:
        if other.ends_at is None:
            return False
        return self.ends_at is None or self.ends_at > other.ends_at


@dataclass(frozen=True)
class GroupOwner:
    """The organization that owns a group, and the role of the group's members."""

    organization: Organization
    role: Role


@dataclass(frozen=True)
class Holding:
    """A person's role in an organization."""

    user: User
    organization: Organization
    held: HeldRole


def list_all_roles(users: Collection[User]) -> list[Holding]:
    """Return all roles of these users, sorted by user ID and organization ID.

    Includes roles in archived organizations, because these end, too, when the person
    leaves. If someone has several roles in an organization, returns only the strongest.
    Runs one query for the memberships, and then one query per role and BATCH groups.
    """
    users_by_pk = {user.pk: user for user in users}
    memberships = Membership.objects.current().filter(user__in=users_by_pk)
    memberships_by_group_id: dict[int, list[Membership]] = defaultdict(list)
    for row in memberships:
        memberships_by_group_id[row.group_id].append(row)
    found: dict[tuple[int, int], Holding] = {}
    for role in ROLES:
        for organization in list_organizations_of_groups(role, memberships_by_group_id):
            for row in memberships_by_group_id[getattr(organization, role.attname)]:
                user = users_by_pk[row.user_id]
                held = HeldRole(role, row.ends_at)
                key = (user.pk, organization.pk)
                if key not in found or held.permits_more_than(found[key].held):
                    found[key] = Holding(user, organization, held)
    return [found[key] for key in sorted(found)]


def list_organizations_of_groups(
    role: Role, group_ids: Collection[int]
) -> list[Organization]:
    """Return the organizations whose group for `role` is one of these groups."""
    columns = [one.attname for one in ROLES]
    found: list[Organization] = []
    for batch in split_into_batches(group_ids, BATCH):
        rows = Organization.objects.filter(**{f"{role.key}__in": batch}).order_by()
        found += rows.only("pk", "name", "reference", "archived_at", *columns)
    return found


def find_current_roles(
    users: Collection[User], organizations: Sequence[Organization]
) -> dict[tuple[int, int], HeldRole]:
    """Return {(user ID, organization ID): HeldRole} for users who have a role there.

    If someone has several roles in an organization, returns the strongest. Runs one
    query per BATCH organizations.
    """
    found: dict[tuple[int, int], HeldRole] = {}
    user_ids = {user.pk for user in users}
    for batch in split_into_batches(organizations, BATCH):
        owners = map_group_owners(batch)
        memberships = Membership.objects.current().filter(
            user__in=user_ids, group__in=owners
        )
        rows = memberships.values_list("user_id", "group_id", "ends_at")
        for user_id, group_id, ends_at in rows:
            owner = owners[group_id]
            key = (user_id, owner.organization.pk)
            held = HeldRole(owner.role, ends_at)
            other = found.get(key)
            if other is None or held.permits_more_than(other):
                found[key] = held
    return found


def find_group_owners(groups: Any) -> dict[int, GroupOwner]:
    """Return {group ID: GroupOwner} for groups that belong to an organization.

    `groups` are group IDs, or a query for them. The result also contains the other
    groups of these organizations, and includes archived organizations. Runs one query.
    """
    return map_group_owners(Organization.objects.owning_any(groups).order_by())


def map_group_owners(organizations: Iterable[Organization]) -> dict[int, GroupOwner]:
    """Return {group ID: GroupOwner} for all groups of these organizations."""
    owners = {}
    for organization in organizations:
        for role in ROLES:
            group_id = getattr(organization, role.attname)
            owners[group_id] = GroupOwner(organization, role)
    return owners
