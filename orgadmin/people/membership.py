"""Who is admin or reviewer of which organization.

All changes of memberships go through this module. In one transaction, it checks a
change, writes it, and adds a row to the membership log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import F

from orgadmin.access.batches import split_into_batches
from orgadmin.access.ends import is_current
from orgadmin.access.membership_log import (
    Event,
    MembershipChange,
    write_changes,
    write_planned_ends,
)
from orgadmin.access.roles import ADMIN, ROLES, Role
from orgadmin.access.rule import is_active_superuser
from orgadmin.access.sql import read_clock
from orgadmin.models import Membership, MembershipEvent, Organization, User
from orgadmin.models.guards import (
    find_losing_last_admin,
    require_confirmation,
)
from orgadmin.people import mail
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import PlannedEnd, plan_end

if TYPE_CHECKING:
    from django.contrib.auth.models import Group

BATCH = 5_000  # changes in one query, below SQLite's limit of 32,766 parameters

AnyModel = TypeVar("AnyModel", bound=models.Model)


class AmbiguousRoles(Exception):
    """Several roles of an organization were chosen for a person, who can have one."""

    def __init__(self, organizations: Sequence[Organization]) -> None:
        super().__init__(organizations)
        self.organizations = organizations


class EndInThePast(Exception):
    """A membership was to end at a time that has passed."""

    def __init__(self, ends_at: datetime) -> None:
        super().__init__(ends_at)
        self.ends_at = ends_at


@dataclass(frozen=True)
class OrganizationRole:
    """A person's role in an organization, and its end; None if they have none."""

    organization: Organization
    role: Role | None
    ends_at: datetime | None = None

    @property
    def end(self) -> PlannedEnd | None:
        return plan_end(self.ends_at)


@dataclass(frozen=True)
class Member:
    """A member of an organization, as the People page shows them."""

    user: User
    role: Role
    joined: MembershipEvent | None  # None if the log has no such row
    ends_at: datetime | None = None

    @property
    def end(self) -> PlannedEnd | None:
        return plan_end(self.ends_at)


@dataclass
class _Plan:
    """What a batch of role changes will write."""

    changes: list[RoleChange] = field(default_factory=list)
    # {(user ID, group ID): membership to create}
    added: dict[tuple[int, int], Membership] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)  # IDs of memberships to delete
    # {end: IDs of the memberships that get it}
    new_ends: dict[datetime | None, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    # Memberships that have ended by their date, and whose rows remain.
    ended: list[MembershipChange] = field(default_factory=list)
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

    Also sets the end of the membership, if the change has one. A change of nothing but
    the end is a change, too, and needs the same permissions as giving the role.

    Returns the changes that were made, with freshly loaded users and organizations.
    Users who have been deleted are skipped. `actor` is None for a command, or if the
    groups of an OpenID provider decide; then, `source` is its ID. The membership log
    records them, and `reason`. `confirmed` are the IDs of the
    organizations for which the actor, a superuser, has confirmed that no active admin
    will be left. Runs about 12 queries per BATCH of changes.

    Raises `Organization.DoesNotExist` if an organization has been deleted, or if it is
    archived and someone is to get a role there, `PermissionDenied` if the actor may not
    manage the members there or has fewer permissions than the role, `LastAdminError`,
    and `EndInThePast`.
    """
    require_future(change.ends_at for change in wanted)
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
    _check_unarchived(plan.changes)
    _check_allowed(plan.changes, actor)
    orphaned = find_organizations_losing_last_admin(plan.changes)
    require_confirmation(orphaned, actor=actor, confirmed=confirmed)
    _write_memberships(plan)
    write_planned_ends(plan.ended)
    write_changes(plan.logged, actor=actor, reason=reason, source=source)
    return plan.changes


def require_future(ends: Iterable[datetime | None]) -> None:
    """Raise `EndInThePast` unless all ends are still to come.

    Asks the database for the time, because its clock decides when memberships end. Runs
    no query if there is no end.
    """
    first = min((end for end in ends if end is not None), default=None)
    if first is not None and first <= read_clock():
        raise EndInThePast(first)


def _write_memberships(plan: _Plan) -> None:
    # Rows that have ended by their date are among those removed.
    Membership.objects.filter(pk__in=plan.removed).delete()
    for ends_at, pks in plan.new_ends.items():
        # None of them had ended when they were read.
        Membership.objects.filter(pk__in=pks).update(ends_at=ends_at)
    # Code that calls `user.groups.add()` takes no lock, so it may have added the same
    # row by now, without an end.
    Membership.objects.bulk_create(
        plan.added.values(),
        update_conflicts=True,
        unique_fields=["user", "group"],
        update_fields=["ends_at"],
    )


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
            current.append(replace(change, user=user, organization=organization))
    return current


def lock(
    model: type[AnyModel], pks: Collection[int], *, unarchived: bool = False
) -> dict[int, AnyModel]:
    """Lock rows, in the order of their keys, and return {primary key: instance}.

    `unarchived` leaves out organizations that are archived.
    """
    rows = model._default_manager.filter(pk__in=pks).order_by("pk")
    if unarchived:
        rows = rows.filter(archived_at=None)
    return {row.pk: row for row in rows.select_for_update(no_key=True)}


def _plan_changes(wanted: Iterable[RoleChange]) -> _Plan:
    """Compare the wanted roles with the memberships that exist."""
    memberships = _find_memberships(wanted)
    plan = _Plan()
    for change in wanted:
        held = {}
        for role in ROLES:
            group_id = getattr(change.organization, role.attname)
            row = memberships.get((change.user.pk, group_id))
            if row is None:
                continue
            if row.has_ended:
                plan.removed.append(row.pk)
                plan.ended.append(_describe_planned_end(change, row, role))
            else:
                held[role] = row
        _add_to_plan(plan, change, held)
    return plan


def _find_memberships(
    changes: Iterable[RoleChange],
) -> dict[tuple[int, int], Membership]:
    """Return {(user ID, group ID): membership} of users in role groups.

    The users and organizations are those of the changes. Each membership says as
    `has_ended` whether it has ended by its date.
    """
    user_ids = {change.user.pk for change in changes}
    group_ids: set[int | None] = set()
    for change in changes:
        group_ids.update(change.organization.group_ids)
    # Those that have ended are removed.
    rows = Membership.objects.filter(user__in=user_ids, group__in=group_ids)
    return {(row.user_id, row.group_id): row for row in rows.tell_ended()}


def _add_to_plan(
    plan: _Plan, change: RoleChange, held: Mapping[Role, Membership]
) -> None:
    """Plan one change, if it changes anything.

    `held` is {role: membership} of the user's present roles.
    """
    lost = [role for role in held if role is not change.role]
    previous = _find_strongest(lost)
    plan.removed += [held[role].pk for role in lost]
    if change.role is None:
        if lost:
            plan.changes.append(replace(change, previous=previous, end=None))
        plan.logged += [_describe_change(change, Event.LEFT, role) for role in lost]
    elif change.role in held:
        _plan_kept_role(plan, change, held[change.role], lost)
    else:
        ends_at = held[previous].ends_at if previous is not None else None
        made = _fill_in_end(replace(change, previous=previous), ends_at)
        plan.changes.append(made)
        group_id = getattr(change.organization, change.role.attname)
        row = Membership(
            user_id=change.user.pk, group_id=group_id, ends_at=made.ends_at
        )
        plan.added[change.user.pk, group_id] = row
        # "Joined" implies that any other role of the user in the organization ends, so
        # that is not logged separately.
        plan.logged.append(_describe_change(made, Event.JOINED, change.role))


def _find_strongest(roles: Collection[Role]) -> Role | None:
    """Return the role with the most permissions, or None if there are no roles."""
    return max(roles, key=lambda role: len(role.permissions), default=None)


def _plan_kept_role(
    plan: _Plan, change: RoleChange, row: Membership, lost: Collection[Role]
) -> None:
    """Plan a change for someone who already has the role, as `row`.

    The end of the role changes, or they lose their other roles, or both.
    """
    assert change.role is not None
    has_new_end = change.end is not None and change.end.at != row.ends_at
    if not lost and not has_new_end:
        return
    previous = _find_strongest(lost) or change.role
    made = _fill_in_end(replace(change, previous=previous), row.ends_at)
    plan.changes.append(made)
    plan.logged += [_describe_change(change, Event.LEFT, role) for role in lost]
    if has_new_end:
        plan.new_ends[made.ends_at].append(row.pk)
        plan.logged.append(_describe_change(made, Event.END_CHANGED, change.role))


def _fill_in_end(change: RoleChange, ends_at: datetime | None) -> RoleChange:
    """Return the change with the end that the membership gets.

    `ends_at` is the end that it keeps if the change does not say otherwise.
    """
    if change.end is None and ends_at is not None:
        return replace(change, end=MembershipEnd(ends_at))
    return change


def _describe_change(change: RoleChange, event: Event, role: Role) -> MembershipChange:
    return MembershipChange(
        event,
        change.user.pk,
        change.user.username,
        change.organization.pk,
        change.organization.name,
        role,
        ends_at=None if event is Event.LEFT else change.ends_at,
        replaced=change.previous,
    )


def _describe_planned_end(
    change: RoleChange, row: Membership, role: Role
) -> MembershipChange:
    left = _describe_change(change, Event.LEFT, role)
    return replace(left, at=row.ends_at)


def _check_unarchived(changes: Iterable[RoleChange]) -> None:
    """Raise an error if someone would get a role in an archived organization.

    Roles can end there, as when a person leaves the company. Those that people have can
    stay, as when a form shows all roles of a person and only one of them changes.
    """
    for change in changes:
        if change.role is not None and change.organization.archived_at is not None:
            pk = change.organization.pk
            raise Organization.DoesNotExist(f"Organization {pk} does not exist.")


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
    concerned = []
    for change in changes:
        # Nobody has permissions on an archived organization. Superusers can still end
        # the roles there of a person who leaves.
        is_archived = change.organization.archived_at is not None
        if not (is_archived and is_active_superuser(stored)):
            concerned.append(change)
    organization_pks = {change.organization.pk for change in concerned}
    permissions = Organization.objects.permissions_on_each(stored, organization_pks)
    for change in concerned:
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
    admins = Membership.objects.current().filter(group=group_id, user__is_active=True)
    pks = list(admins.values_list("user", flat=True)[:2])
    return pks[0] if len(pks) == 1 else None


def find_end_of_last_admin(organization: Organization) -> datetime | None:
    """Return when the access of the last active admin ends.

    Returns None if the access of at least one does not end, and if there is none.
    """
    admins = Membership.objects.current().filter(
        group=getattr(organization, ADMIN.attname), user__is_active=True
    )
    latest = admins.order_by(F("ends_at").desc(nulls_first=True))
    return latest.values_list("ends_at", flat=True).first()


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
    `confirmed` is as in `change_roles()`. Raises `AmbiguousRoles` if several roles of
    an organization are added at once, and `LastAdminError`.
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
    others = [group for group in added if group.pk not in role_group_ids]
    user.groups.add(*others)


def find_groups_to_replace(
    user: User, chosen: Collection[Group], replaced: Collection[int] | None
) -> set[Group]:
    """Return the user's groups that a choice of groups is compared with.

    These are all groups, or those of which `replaced` has the keys and those chosen.
    """
    groups = Membership.objects.groups_of(user)
    if replaced is not None:
        chosen_ids = {group.pk for group in chosen}
        groups = groups.filter(pk__in=chosen_ids.union(replaced))
    return set(groups)


def choose_roles(
    current_groups: Collection[Group], chosen_groups: Collection[Group]
) -> list[OrganizationRole]:
    """Return the role that the chosen groups stand for, in each organization.

    The organizations are those to which current or chosen groups belong. If several
    roles of an organization are chosen, the one that the person does not have yet wins.
    Raises `AmbiguousRoles` if the person has several of them, or none.
    """
    current_ids = {group.pk for group in current_groups}
    chosen_ids = {group.pk for group in chosen_groups}
    concerned = current_ids | chosen_ids
    roles = []
    ambiguous = []
    for organization in Organization.objects.owning_any(concerned):
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
    """Return the user's roles, sorted by the name of the organization.

    Includes roles in archived organizations, which end when the person leaves. Runs one
    query per role.
    """
    roles = []
    for role in ROLES:
        roles += _read_roles(Organization.objects.all(), user, role)
    return sort_roles(roles)


def list_first_roles(user: User, limit: int) -> list[OrganizationRole]:
    """Return the first of the user's roles in organizations that they may view.

    They are sorted by the name of the organization. Runs one query per role.
    """
    roles = []
    for role in ROLES:
        permitted = Organization.objects.permitted(user)
        roles += _read_roles(permitted, user, role, limit)
    return sort_roles(roles)[:limit]


def _read_roles(
    organizations: models.QuerySet[Organization],
    user: User,
    role: Role,
    limit: int | None = None,
) -> list[OrganizationRole]:
    """Return those of the first organizations in which the user has a role."""
    # One filter for one membership: it is the user's, and it has not ended.
    path = f"{role.key}__memberships__"
    found = organizations.filter(is_current(path), **{f"{path}user": user})
    rows = found.annotate(role_ends_at=F(f"{path}ends_at"))[:limit]
    return [OrganizationRole(row, role, row.role_ends_at) for row in rows]


def sort_roles(roles: Iterable[OrganizationRole]) -> list[OrganizationRole]:
    return sorted(roles, key=lambda row: (row.organization.name, row.organization.pk))


def find_role(organization: Organization, user: User) -> Role | None:
    """Return the role of a user in an organization; the highest, if they have both."""
    member = find_member(organization, user)
    return member.role if member is not None else None


def find_members(organization: Organization, emails: Collection[str]) -> list[Member]:
    """Return the members who have confirmed one of these email addresses.

    The addresses are in their normal form. People who are no members make no
    difference, not even to the number of queries.
    """
    if not emails:
        return []
    memberships = Membership.objects.current()
    members = User.objects.filter(pk__in=memberships.users_in(organization.group_ids))
    found = []
    for user in members.find_by_emails(emails).values():
        role = find_role(organization, user)
        if user.has_verified_email and role is not None:
            found.append(Member(user, role, joined=None))
    return found


def find_member(organization: Organization, user: User) -> Member | None:
    """Return a member with their role and its end; the highest role, if they have both.

    Does not read the log. Returns None for people who are no members. Runs one query.
    """
    rows = Membership.objects.current().filter(
        user=user, group__in=organization.group_ids
    )
    # {group ID: end}
    ends = dict(rows.values_list("group", "ends_at"))
    roles = [role for role in ROLES if getattr(organization, role.attname) in ends]
    role = max(roles, key=lambda role: len(role.permissions), default=None)
    if role is None:
        return None
    ends_at = ends[getattr(organization, role.attname)]
    return Member(user, role, joined=None, ends_at=ends_at)


def describe_members(
    organization: Organization, memberships: Collection[Membership]
) -> list[Member]:
    """Return a Member for each membership of the organization's groups.

    Runs one query, plus any that load the users of the memberships.
    """
    user_ids = [membership.user_id for membership in memberships]
    events = MembershipEvent.objects.filter(
        organization_key=organization.pk, user_key__in=user_ids
    ).defer("reason")
    joining_events = {
        (event.user_key, event.role): event for event in events.find_joining_events()
    }
    role_of_group = {getattr(organization, role.attname): role for role in ROLES}
    members = []
    for membership in memberships:
        role = role_of_group[membership.group_id]
        event = joining_events.get((membership.user_id, role.key))
        members.append(Member(membership.user, role, event, membership.ends_at))
    return members
