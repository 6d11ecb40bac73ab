"""Who is admin or reviewer of which organization.

All changes of memberships go through this module. In one transaction, it checks a
change, writes it, and adds a row to the membership log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import Q

from orgadmin.access.batches import split_into_batches
from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import ADMIN, ROLES, Role
from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.models.guards import (
    find_losing_last_admin,
    require_confirmation,
)
from orgadmin.people import mail
from orgadmin.people.changes import RoleChange

if TYPE_CHECKING:
    from django.contrib.auth.models import Group

BATCH = 5_000  # changes in one query, below SQLite's limit of 32,766 parameters

Membership = User.groups.through

AnyModel = TypeVar("AnyModel", bound=models.Model)


class AmbiguousRoles(Exception):
    """Both roles of an organization were chosen for a person, who can have only one."""

    def __init__(self, organizations: Sequence[Organization]) -> None:
        super().__init__(organizations)
        self.organizations = organizations


@dataclass(frozen=True)
class OrganizationRole:
    """A person's role in an organization; None if they have none."""

    organization: Organization
    role: Role | None


@dataclass(frozen=True)
class Member:
    """A member of an organization, as the People page shows them."""

    user: User
    role: Role
    joined: MembershipEvent | None  # None if the log has no such row


@dataclass
class _Plan:
    """What a batch of role changes will write."""

    changes: list[RoleChange] = field(default_factory=list)
    added: list[Any] = field(default_factory=list)  # memberships to create
    removed: list[int] = field(default_factory=list)  # IDs of memberships to delete
    logged: list[MembershipChange] = field(default_factory=list)


@transaction.atomic
def change_roles(
    wanted: Sequence[RoleChange],
    *,
    actor: User | None = None,
    reason: str = "",
    source: str = "",
    notify: bool = True,
    confirmed: Collection[int] = (),
) -> list[RoleChange]:
    """Give each user the wanted role, which replaces any other in the organization.

    Returns the changes that were made, with freshly loaded users and organizations.
    Users who have been deleted are skipped. `actor` is None for a command, or if the
    groups of an OpenID provider decide; then, `source` is its ID. The membership log
    records them, and `reason`. `confirmed` are the IDs of the
    organizations for which the actor, a superuser, has confirmed that no active admin
    will be left. Runs about 12 queries per BATCH of changes.

    Raises `Organization.DoesNotExist` if an organization has been deleted,
    `PermissionDenied` if the actor may not manage the members there or has fewer
    permissions than the role, and `LastAdminError`.
    """
    changes = []
    for batch in split_into_batches(wanted, BATCH):
        changes += _change_batch(batch, actor, reason, source, confirmed)
    if notify:
        mail.notify(changes, actor, source)
    return changes


def _change_batch(
    wanted: Sequence[RoleChange],
    actor: User | None,
    reason: str,
    source: str,
    confirmed: Collection[int],
) -> list[RoleChange]:
    current = _lock_and_reload(wanted)
    plan = _plan_changes(current)
    _check_allowed(plan.changes, actor)
    orphaned = find_organizations_losing_last_admin(plan.changes)
    require_confirmation(orphaned, actor=actor, confirmed=confirmed)
    Membership.objects.filter(pk__in=plan.removed).delete()
    # Code that calls `user.groups.add()` takes no lock, so it may have added the same
    # row by now.
    Membership.objects.bulk_create(plan.added, ignore_conflicts=True)
    write_changes(plan.logged, actor=actor, reason=reason, source=source)
    return plan.changes


def _lock_and_reload(wanted: Sequence[RoleChange]) -> list[RoleChange]:
    """Lock users, then organizations, and return the changes with both as stored.

    Other role changes of these rows wait until the transaction ends. So the memberships
    that are read from now on are still the same when the change is written.
    """
    users = lock(User, {change.user.pk for change in wanted})
    organization_pks = {change.organization.pk for change in wanted}
    organizations = lock(Organization, organization_pks)
    missing = organization_pks - organizations.keys()
    if missing:
        raise Organization.DoesNotExist(f"Organizations {missing} do not exist.")
    current = []
    for change in wanted:
        if change.user.pk in users:
            user = users[change.user.pk]
            organization = organizations[change.organization.pk]
            current.append(RoleChange(user, organization, change.role))
    return current


def lock(model: type[AnyModel], pks: Collection[int]) -> dict[int, AnyModel]:
    """Lock rows, in the order of their keys, and return {primary key: instance}."""
    rows = model._default_manager.filter(pk__in=pks).order_by("pk")
    return {row.pk: row for row in rows.select_for_update(no_key=True)}


def _plan_changes(wanted: Iterable[RoleChange]) -> _Plan:
    """Compare the wanted roles with the memberships that exist."""
    membership_ids = _find_memberships(wanted)
    plan = _Plan()
    for change in wanted:
        current_ids = {}
        for role in ROLES:
            group_id = getattr(change.organization, role.attname)
            membership_id = membership_ids.get((change.user.pk, group_id))
            if membership_id is not None:
                current_ids[role] = membership_id
        wanted_roles = set() if change.role is None else {change.role}
        if set(current_ids) != wanted_roles:
            _add_to_plan(plan, change, current_ids)
    return plan


def _find_memberships(changes: Iterable[RoleChange]) -> dict[tuple[int, int], int]:
    """Return {(user ID, group ID): membership ID} of users in role groups.

    The users and organizations are those of the changes.
    """
    user_ids = {change.user.pk for change in changes}
    group_ids: set[int | None] = set()
    for change in changes:
        group_ids.update(change.organization.group_ids)
    memberships = Membership.objects.filter(user__in=user_ids, group__in=group_ids)
    return {
        (user_id, group_id): pk
        for pk, user_id, group_id in memberships.values_list("pk", "user", "group")
    }


def _add_to_plan(
    plan: _Plan, change: RoleChange, current_ids: Mapping[Role, int]
) -> None:
    """Plan one change.

    `current_ids` is {role: membership ID} of the user's present roles.
    """
    lost = [role for role in current_ids if role is not change.role]
    previous = max(lost, key=lambda role: len(role.permissions), default=None)
    plan.changes.append(replace(change, previous=previous))
    plan.removed += [current_ids[role] for role in lost]
    if change.role is not None and change.role not in current_ids:
        group_id = getattr(change.organization, change.role.attname)
        plan.added.append(Membership(user_id=change.user.pk, group_id=group_id))
        # "Joined" implies that any other role of the user in the organization ends, so
        # that is not logged separately.
        plan.logged.append(_describe_change(change, Event.JOINED, change.role))
    else:
        for role in lost:
            plan.logged.append(_describe_change(change, Event.LEFT, role))


def _describe_change(change: RoleChange, event: Event, role: Role) -> MembershipChange:
    return MembershipChange(
        event,
        change.user.pk,
        change.user.username,
        change.organization.pk,
        change.organization.name,
        role,
    )


def _check_allowed(changes: Sequence[RoleChange], actor: User | None) -> None:
    """Raise an error if the actor may not make these changes.

    Loads the actor again, because their permissions may have changed since the instance
    was loaded.
    """
    if actor is None or not changes:
        return
    stored = User.objects.filter(pk=actor.pk).first()
    if stored is None:
        raise PermissionDenied("The person who makes this change does not exist.")
    organization_pks = {change.organization.pk for change in changes}
    permissions = {
        pk: Organization.objects.permissions_on(stored, pk) for pk in organization_pks
    }
    for change in changes:
        if not may_assign(permissions[change.organization.pk], change.role):
            raise PermissionDenied(
                "You cannot assign a role with more permissions than you have."
            )


def may_assign(permissions: Collection[str], role: Role | None) -> bool:
    """Return whether someone with these permissions may give a person a role.

    They must be able to manage members and have every permission of the role. None
    means to remove the person's role, which requires no further permissions.
    """
    if "manage_members" not in permissions:
        return False
    return role is None or set(role.permissions) <= set(permissions)


def find_organizations_losing_last_admin(
    changes: Iterable[RoleChange],
) -> list[Organization]:
    """Return the organizations that the changes would leave without an active admin."""
    # {organization: IDs of the users who will not be its admins}
    not_admins: dict[Organization, set[int]] = defaultdict(set)
    gaining = set()
    for change in changes:
        if change.role is not ADMIN:
            not_admins[change.organization].add(change.user.pk)
        elif change.user.is_active:
            gaining.add(change.organization)
    leaving = {
        organization: pks
        for organization, pks in not_admins.items()
        if organization not in gaining
    }
    return find_losing_last_admin(leaving)


def find_last_admin(organization: Organization) -> int | None:
    """Return the ID of the only active admin of an organization, if there is one."""
    group_id = getattr(organization, ADMIN.attname)
    admins = Membership.objects.filter(group=group_id, user__is_active=True)
    pks = list(admins.values_list("user", flat=True)[:2])
    return pks[0] if len(pks) == 1 else None


@transaction.atomic
def set_groups(
    user: User,
    chosen: Iterable[Group],
    *,
    actor: User | None = None,
    replaced: Collection[int] | None = None,
    confirmed: Collection[int] = (),
) -> None:
    """Replace the user's groups, or only those of which `replaced` has the keys.

    If the user gains a role in an organization, it replaces their previous one.
    `confirmed` is as in `change_roles()`. Raises `AmbiguousRoles` if both roles of an
    organization are added at once, and `LastAdminError`.
    """
    user.changed_by = actor
    lock(User, [user.pk])
    chosen_groups = set(chosen)
    current_groups = find_groups_to_replace(user, chosen_groups, replaced)
    roles = choose_roles(current_groups, chosen_groups)
    changes = [RoleChange(user, row.organization, row.role) for row in roles]
    change_roles(changes, actor=actor, confirmed=confirmed)
    role_group_ids: set[int | None] = set()
    for row in roles:
        role_group_ids.update(row.organization.group_ids)
    # `change_roles()` has handled the groups of organizations. The others need neither
    # a check nor a row of the membership log.
    removed = current_groups - chosen_groups
    added = chosen_groups - current_groups
    user.groups.remove(*[group for group in removed if group.pk not in role_group_ids])
    user.groups.add(*[group for group in added if group.pk not in role_group_ids])


def find_groups_to_replace(
    user: User, chosen: Collection[Group], replaced: Collection[int] | None
) -> set[Group]:
    """Return the user's groups that a choice of groups is compared with.

    These are all groups, or those of which `replaced` has the keys and those chosen.
    """
    groups = user.groups.all()
    if replaced is not None:
        chosen_ids = {group.pk for group in chosen}
        groups = groups.filter(pk__in=chosen_ids.union(replaced))
    return set(groups)


def choose_roles(
    current_groups: Collection[Group], chosen_groups: Collection[Group]
) -> list[OrganizationRole]:
    """Return the role that the chosen groups stand for, in each organization.

    The organizations are those to which current or chosen groups belong. If both roles
    of an organization are chosen, the one that the person does not have yet wins.
    Raises `AmbiguousRoles` if the person has both, or neither.
    """
    current_ids = {group.pk for group in current_groups}
    chosen_ids = {group.pk for group in chosen_groups}
    concerned = current_ids | chosen_ids
    roles = []
    ambiguous = []
    for organization in Organization.objects.filter(
        Q(admin__in=concerned) | Q(reviewer__in=concerned)
    ):
        role_of_group = {getattr(organization, role.attname): role for role in ROLES}
        candidates = role_of_group.keys() & (chosen_ids - current_ids)
        if not candidates:
            candidates = role_of_group.keys() & chosen_ids
        if len(candidates) > 1:
            ambiguous.append(organization)
        role = role_of_group[min(candidates)] if candidates else None
        roles.append(OrganizationRole(organization, role))
    if ambiguous:
        raise AmbiguousRoles(ambiguous)
    return roles


def list_roles(user: User) -> list[OrganizationRole]:
    """Return the user's roles, sorted by the name of the organization."""
    group_ids = Membership.objects.filter(user=user).values("group")
    roles = []
    for role in ROLES:
        organizations = Organization.objects.filter(**{f"{role.key}__in": group_ids})
        roles += [OrganizationRole(row, role) for row in organizations]
    return sorted(roles, key=lambda row: (row.organization.name, row.organization.pk))


def list_all_roles(users: Collection[User]) -> list[RoleChange]:
    """Return each role of these users, in the order of users and organizations.

    Someone who was added to both groups of an organization is listed with the role that
    permits more. Runs three queries per BATCH of memberships.
    """
    users_by_pk = {user.pk: user for user in users}
    memberships = Membership.objects.filter(user__in=users_by_pk)
    groups_of: dict[int, list[int]] = defaultdict(list)
    for user_id, group_id in memberships.values_list("user", "group"):
        groups_of[group_id].append(user_id)
    found: dict[tuple[int, int], RoleChange] = {}
    # The role that permits most comes last, and replaces the other.
    for role in sorted(ROLES, key=lambda role: len(role.permissions)):
        for batch in split_into_batches(groups_of, BATCH):
            rows = Organization.objects.filter(**{f"{role.key}__in": batch}).order_by()
            for row in rows.only("pk", "name", *[role.attname for role in ROLES]):
                for pk in groups_of[getattr(row, role.attname)]:
                    found[pk, row.pk] = RoleChange(users_by_pk[pk], row, role)
    return [found[key] for key in sorted(found)]


def find_current_roles(
    users: Collection[User], organizations: Sequence[Organization]
) -> dict[tuple[int, int], Role]:
    """Return {(user ID, organization ID): role} of those who have one.

    Of someone who was added to both groups, it is the role that permits more. Runs one
    query per BATCH of organizations.
    """
    found: dict[tuple[int, int], Role] = {}
    user_ids = {user.pk for user in users}
    # The role that permits most comes last, and replaces the other.
    roles = sorted(ROLES, key=lambda role: len(role.permissions))
    for batch in split_into_batches(organizations, BATCH):
        owners: dict[int, tuple[int, Role]] = {}
        for organization in batch:
            for role in roles:
                group_id = getattr(organization, role.attname)
                owners[group_id] = (organization.pk, role)
        memberships = Membership.objects.filter(user__in=user_ids, group__in=owners)
        rows = list(memberships.values_list("user", "group"))
        rows.sort(key=lambda row: roles.index(owners[row[1]][1]))
        for user_id, group_id in rows:
            pk, role = owners[group_id]
            found[user_id, pk] = role
    return found


def list_first_roles(user: User, limit: int) -> list[OrganizationRole]:
    """Return the first of the user's roles in organizations that they may view.

    They are sorted by the name of the organization. Runs one query per role.
    """
    group_ids = Membership.objects.filter(user=user).values("group")
    roles = []
    for role in ROLES:
        organizations = Organization.objects.permitted(user).filter(
            **{f"{role.key}__in": group_ids}
        )
        roles += [OrganizationRole(row, role) for row in organizations[:limit]]
    roles.sort(key=lambda row: (row.organization.name, row.organization.pk))
    return roles[:limit]


def find_role(organization: Organization, user: User) -> Role | None:
    """Return the role of a user in an organization; the highest, if they have both."""
    group_ids = set(
        user.groups.filter(pk__in=organization.group_ids).values_list("pk", flat=True)
    )
    roles = [role for role in ROLES if getattr(organization, role.attname) in group_ids]
    return max(roles, key=lambda role: len(role.permissions), default=None)


def find_members(organization: Organization, emails: Collection[str]) -> list[Member]:
    """Return the members who have confirmed one of these email addresses.

    The addresses are in their normal form. People who are no members make no
    difference, not even to the number of queries.
    """
    if not emails:
        return []
    members = User.objects.filter(groups__in=organization.group_ids).distinct()
    found = []
    for user in members.find_by_emails(emails).values():
        role = find_role(organization, user)
        if user.has_verified_email and role is not None:
            found.append(Member(user, role, joined=None))
    return found


def describe_members(
    organization: Organization, memberships: Collection[Any]
) -> list[Member]:
    """Return a Member for each membership of the organization's groups.

    Runs one query, plus any that load the users of the memberships.
    """
    user_ids = [membership.user_id for membership in memberships]
    events = MembershipEvent.objects.filter(
        organization_key=organization.pk, user_key__in=user_ids
    ).defer("reason")
    joining_events = {
        (event.user_key, event.role): event
        for event in events.find_joining_events_of_members()
    }
    role_of_group = {getattr(organization, role.attname): role for role in ROLES}
    members = []
    for membership in memberships:
        role = role_of_group[membership.group_id]
        event = joining_events.get((membership.user_id, role.key))
        members.append(Member(membership.user, role, event))
    return members
