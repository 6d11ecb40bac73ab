"""Changes of roles, and who has which role in which organization.

Pages, commands, imports and sign-ins change roles with `change_roles()`. In one
transaction, it checks a change, writes it, and adds a row to the membership log. The
worker removes expired memberships in `expiry.py`.
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
from orgadmin.access.roles import ADMIN, ROLES, Role, find_strongest
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
    """Several roles were chosen in an organization, but a person can have only one."""

    def __init__(self, organizations: Sequence[Organization]) -> None:
        super().__init__(organizations)
        self.organizations = organizations


class EndInThePast(Exception):
    """The chosen end of a membership has passed."""

    def __init__(self, ends_at: datetime) -> None:
        super().__init__(ends_at)
        self.ends_at = ends_at


@dataclass(frozen=True)
class OrganizationRole:
    """A person's role in an organization, or None, and its end."""

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
    joined: MembershipEvent | None  # None if the log has no such event
    ends_at: datetime | None = None

    @property
    def end(self) -> PlannedEnd | None:
        return plan_end(self.ends_at)


@dataclass
class _Plan:
    """The rows that a batch of role changes will write."""

    changes: list[RoleChange] = field(default_factory=list)
    # {(user ID, group ID): membership to create}
    added: dict[tuple[int, int], Membership] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)  # IDs of memberships to delete
    # {new end: IDs of memberships}
    new_ends: dict[datetime | None, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    # Rows of the log for expired memberships, which are also in `removed`.
    expired: list[MembershipChange] = field(default_factory=list)
    # Rows of the log for the changes.
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

    If the wanted role is None, removes the user from the organization. Also sets the
    end of the membership, if the change has one. Changing only the end requires the
    same permissions as giving the role. With `notify`, queues emails about the changes.

    `actor` is None for a command, for the worker, and if the groups of an OpenID
    provider cause the changes; in the latter case, `source` is the provider's ID.
    `actor`, `source` and `reason` are stored in the membership log. `confirmed` are the
    IDs of organizations for which the actor, a superuser, has confirmed that no active
    admin remains.

    Returns the completed changes, with freshly loaded users and organizations. Skips
    users who were deleted, and changes that are not needed. Runs about 12 queries per
    BATCH changes.

    Raises the following exceptions:

    - `Organization.DoesNotExist` if an organization was deleted, or if someone would
      get a role in an archived one;
    - `PermissionDenied` if the actor may not manage the organization's members, or has
      fewer permissions than the role, or if this release does not know the role;
    - `LastAdminError` if a person would leave an organization without an active admin
      that is not in `confirmed`;
    - `EndInThePast` if an end is not in the future.
    """
    require_future(change.ends_at for change in wanted)
    _check_known(wanted)
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
    """Lock, check and write a batch of changes, and return the completed changes."""
    current = _lock_and_reload(wanted)
    plan = _plan_changes(current)
    _check_unarchived(plan.changes)
    _check_allowed(plan.changes, actor)
    orphaned = find_organizations_losing_last_admin(plan.changes)
    require_confirmation(orphaned, actor=actor, confirmed=confirmed)
    _write_memberships(plan)
    write_planned_ends(plan.expired)
    write_changes(plan.logged, actor=actor, reason=reason, source=source)
    return plan.changes


def require_future(ends: Iterable[datetime | None]) -> None:
    """Raise `EndInThePast` unless all ends are in the future.

    Reads the database's clock, because it decides when memberships end. Does not run a
    query if there are no ends.
    """
    first = min((end for end in ends if end is not None), default=None)
    if first is not None and first <= read_clock():
        raise EndInThePast(first)


def _check_known(changes: Iterable[RoleChange]) -> None:
    """Raise `PermissionDenied` for a role that has no group, as in `get_role()`."""
    for change in changes:
        if change.role is not None and change.role not in ROLES:
            raise PermissionDenied(f"There is no role “{change.role.key}”.")


def _write_memberships(plan: _Plan) -> None:
    """Write the rows of the table behind `User.groups`, but not the log."""
    # Includes the rows of expired memberships.
    Membership.objects.filter(pk__in=plan.removed).delete()
    for ends_at, pks in plan.new_ends.items():
        # These memberships had not ended when they were read.
        Membership.objects.filter(pk__in=pks).update(ends_at=ends_at)
    # Code that calls `user.groups.add()` does not take a lock, so it may have added the
    # same row in the meantime, without an end.
    Membership.objects.bulk_create(
        plan.added.values(),
        update_conflicts=True,
        unique_fields=["user", "group"],
        update_fields=["ends_at"],
    )


def _lock_and_reload(wanted: Sequence[RoleChange]) -> list[RoleChange]:
    """Lock users, then organizations, and return the changes with both as stored.

    Leaves out changes of users who were deleted. Raises `Organization.DoesNotExist` if
    an organization was deleted. Other role changes that concern them wait until this
    transaction ends, so memberships that are read after this call stay the same.
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
    """Lock rows in the order of their IDs, and return {primary key: instance}.

    `unarchived` leaves out archived organizations.
    """
    rows = model._default_manager.filter(pk__in=pks).order_by("pk")
    if unarchived:
        rows = rows.filter(archived_at=None)
    return {row.pk: row for row in rows.select_for_update(no_key=True)}


def _plan_changes(wanted: Iterable[RoleChange]) -> _Plan:
    """Compare the wanted roles with the existing memberships.

    Expired memberships whose rows still exist are deleted, and logged separately.
    """
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
                plan.expired.append(_describe_expiry(change, row, role))
            else:
                held[role] = row
        _add_to_plan(plan, change, held)
    return plan


def _find_memberships(
    changes: Iterable[RoleChange],
) -> dict[tuple[int, int], Membership]:
    """Return {(user ID, group ID): membership} for the users and organizations.

    Includes expired memberships. Each has the attribute `has_ended`.
    """
    user_ids = {change.user.pk for change in changes}
    group_ids: set[int | None] = set()
    for change in changes:
        group_ids.update(change.organization.group_ids)
    # Includes expired memberships, so that their rows can be deleted.
    rows = Membership.objects.filter(user__in=user_ids, group__in=group_ids)
    return {(row.user_id, row.group_id): row for row in rows.tell_ended()}


def _add_to_plan(
    plan: _Plan, change: RoleChange, held: Mapping[Role, Membership]
) -> None:
    """Plan one change, if it changes anything.

    `held` is {role: membership} for the user's current roles in the organization.
    """
    lost = [role for role in held if role is not change.role]
    previous = find_strongest(lost)
    plan.removed += [held[role].pk for role in lost]
    if change.role is None:
        if lost:
            plan.changes.append(replace(change, previous=previous, end=None))
        plan.logged += [_describe_change(change, Event.LEFT, role) for role in lost]
    elif change.role in held:
        _plan_kept_role(plan, change, held[change.role], lost)
    else:
        ends_at = held[previous].ends_at if previous is not None else None
        completed_change = _with_actual_end(replace(change, previous=previous), ends_at)
        plan.changes.append(completed_change)
        group_id = getattr(change.organization, change.role.attname)
        row = Membership(
            user_id=change.user.pk, group_id=group_id, ends_at=completed_change.ends_at
        )
        plan.added[change.user.pk, group_id] = row
        # "Joined" implies that any other role of the user in the organization ends, so
        # the end of the other role is not logged.
        plan.logged.append(
            _describe_change(completed_change, Event.JOINED, change.role)
        )


def _plan_kept_role(
    plan: _Plan, change: RoleChange, row: Membership, lost: Collection[Role]
) -> None:
    """Plan a change for someone who already has the wanted role, in `row`.

    They may get a new end, lose their other roles, or both.
    """
    assert change.role is not None
    has_new_end = change.end is not None and change.end.at != row.ends_at
    if not lost and not has_new_end:
        return
    # If no other role is lost, only the end of this role changes.
    previous = find_strongest(lost) or change.role
    completed_change = _with_actual_end(replace(change, previous=previous), row.ends_at)
    plan.changes.append(completed_change)
    plan.logged += [_describe_change(change, Event.LEFT, role) for role in lost]
    if has_new_end:
        plan.new_ends[completed_change.ends_at].append(row.pk)
        plan.logged.append(
            _describe_change(completed_change, Event.END_CHANGED, change.role)
        )


def _with_actual_end(change: RoleChange, ends_at: datetime | None) -> RoleChange:
    """Return the change with the end that the membership will have.

    If the change does not set an end (`end` is None), this is its current end,
    `ends_at`.
    """
    if change.end is None and ends_at is not None:
        return replace(change, end=MembershipEnd(ends_at))
    return change


def _describe_change(change: RoleChange, event: Event, role: Role) -> MembershipChange:
    """Return a row of the membership log about a role of the changed person."""
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


def _describe_expiry(
    change: RoleChange, row: Membership, role: Role
) -> MembershipChange:
    """Return the row of the membership log about an expired membership."""
    left = _describe_change(change, Event.LEFT, role)
    return replace(left, at=row.ends_at)


def _check_unarchived(changes: Iterable[RoleChange]) -> None:
    """Raise `DoesNotExist` if someone would get a role in an archived organization.

    Roles in archived organizations can end, for example if a person leaves the company.
    """
    for change in changes:
        if change.role is not None and change.organization.archived_at is not None:
            pk = change.organization.pk
            raise Organization.DoesNotExist(f"Organization {pk} does not exist.")


def _check_allowed(changes: Sequence[RoleChange], actor: User | None) -> None:
    """Raise `PermissionDenied` if the actor may not make these changes.

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
        # Nobody has permissions on an archived organization, but superusers can end the
        # roles of people who leave.
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

    They need the permission to manage members, and every permission of the role. If
    `role` is None, the person's role would be removed. This does not require any
    further permissions.
    """
    if "manage_members" not in permissions:
        return False
    return role is None or set(role.permissions) <= set(permissions)


def find_organizations_losing_last_admin(
    changes: Iterable[RoleChange],
) -> list[Organization]:
    """Return the organizations that the changes would leave without an active admin.

    Leaves out archived organizations, and those that have no active admin now.
    """
    # {organization: IDs of users who stop being its admins, or do not become one}
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
    """Return the user ID of an organization's only active admin.

    Returns None if there are several, or none.
    """
    group_id = getattr(organization, ADMIN.attname)
    admins = Membership.objects.current().filter(group=group_id, user__is_active=True)
    pks = list(admins.values_list("user", flat=True)[:2])
    return pks[0] if len(pks) == 1 else None


def find_end_of_last_admin(organization: Organization) -> datetime | None:
    """Return when the membership of an organization's last active admin ends.

    Returns None if the membership of an active admin has no end, or if there are no
    active admins.
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
    """Replace the user's groups, or only the groups whose IDs are in `replaced`.

    If the user gets a role in an organization, it replaces their previous role there.
    `confirmed` is as in `change_roles()`. Raises `AmbiguousRoles` if it is not clear
    which role in an organization was chosen, and the exceptions of `change_roles()`.
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
    # `change_roles()` has handled the groups of organizations. Other groups do not
    # require a check or a row of the membership log.
    removed = current_groups - chosen_groups
    added = chosen_groups - current_groups
    user.groups.remove(*[group for group in removed if group.pk not in role_group_ids])
    others = [group for group in added if group.pk not in role_group_ids]
    user.groups.add(*others)


def find_groups_to_replace(
    user: User, chosen: Collection[Group], replaced: Collection[int] | None
) -> set[Group]:
    """Return the user's current groups that a choice of groups replaces.

    These are all groups of the user if `replaced` is None. Otherwise, they are the
    groups that are chosen, or whose IDs are in `replaced`.
    """
    groups = Membership.objects.groups_of(user)
    if replaced is not None:
        chosen_ids = {group.pk for group in chosen}
        groups = groups.filter(pk__in=chosen_ids.union(replaced))
    return set(groups)


def choose_roles(
    current_groups: Collection[Group], chosen_groups: Collection[Group]
) -> list[OrganizationRole]:
    """Return the chosen role in each organization of the current and chosen groups.

    If several groups of an organization are chosen, the one that the person is not in
    yet wins. Raises `AmbiguousRoles` if several groups are new to the person, or if
    they are already in all of them.
    """
    current_ids = {group.pk for group in current_groups}
    chosen_ids = {group.pk for group in chosen_groups}
    concerned = current_ids | chosen_ids
    roles = []
    ambiguous = []
    for organization in Organization.objects.owning_any(concerned):
        roles_by_group_id = {
            getattr(organization, role.attname): role for role in ROLES
        }
        candidates = roles_by_group_id.keys() & (chosen_ids - current_ids)
        if not candidates:
            candidates = roles_by_group_id.keys() & chosen_ids
        if len(candidates) > 1:
            ambiguous.append(organization)
        role = roles_by_group_id[min(candidates)] if candidates else None
        roles.append(OrganizationRole(organization, role))
    if ambiguous:
        raise AmbiguousRoles(ambiguous)
    return roles


def list_roles(user: User) -> list[OrganizationRole]:
    """Return the user's roles, sorted by the name of the organization.

    Includes roles in archived organizations, because these end, too, when the person
    leaves. Runs one query per role.
    """
    roles = []
    for role in ROLES:
        roles += _read_roles(Organization.objects.all(), user, role)
    return sort_roles(roles)


def list_first_roles(user: User, limit: int) -> list[OrganizationRole]:
    """Return the user's first `limit` roles in organizations that they may view.

    The roles are sorted by the name of the organization. Runs one query per role.
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
    """Return the user's roles of one kind in organizations, at most `limit`."""
    # Both conditions are in one filter() call, so that they apply to the same
    # membership: it belongs to the user, and has not ended.
    path = f"{role.key}__memberships__"
    found = organizations.filter(is_current(path), **{f"{path}user": user})
    rows = found.annotate(role_ends_at=F(f"{path}ends_at"))[:limit]
    return [OrganizationRole(row, role, row.role_ends_at) for row in rows]


def sort_roles(roles: Iterable[OrganizationRole]) -> list[OrganizationRole]:
    return sorted(roles, key=lambda row: (row.organization.name, row.organization.pk))


def find_role(organization: Organization, user: User) -> Role | None:
    """Return a user's role in an organization: the strongest, if several."""
    member = find_member(organization, user)
    return member.role if member is not None else None


def find_members(organization: Organization, emails: Collection[str]) -> list[Member]:
    """Return the members who have verified one of these email addresses.

    `emails` must be results of `fold_email()`. Addresses of people who are not members
    do not affect the result or the number of queries. The result does not contain the
    ends of the memberships.
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
    """Return a member with their role and its end, or None if they are not a member.

    If they have several roles, returns the strongest. Does not read the log, so
    `joined` is None. Runs one query.
    """
    rows = Membership.objects.current().filter(
        user=user, group__in=organization.group_ids
    )
    ends_by_group = dict(rows.values_list("group", "ends_at"))
    roles = [
        role for role in ROLES if getattr(organization, role.attname) in ends_by_group
    ]
    role = find_strongest(roles)
    if role is None:
        return None
    ends_at = ends_by_group[getattr(organization, role.attname)]
    return Member(user, role, joined=None, ends_at=ends_at)


def describe_members(
    organization: Organization, memberships: Collection[Membership]
) -> list[Member]:
    """Return a Member for each membership in the organization's groups.

    Runs one query, plus the queries that load the users of the memberships.
    """
    user_ids = [membership.user_id for membership in memberships]
    events = MembershipEvent.objects.filter(
        organization_key=organization.pk, user_key__in=user_ids
    ).defer("reason")
    joining_events = {
        (event.user_key, event.role): event for event in events.find_joining_events()
    }
    roles_by_group_id = {getattr(organization, role.attname): role for role in ROLES}
    members = []
    for membership in memberships:
        role = roles_by_group_id[membership.group_id]
        event = joining_events.get((membership.user_id, role.key))
        members.append(Member(membership.user, role, event, membership.ends_at))
    return members
