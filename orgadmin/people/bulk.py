"""Plans and makes changes of many roles at once.

A change is planned twice: for the preview, and again in the transaction that carries it
out, after people and organizations were locked. If both plans have the same digest,
exactly what the person has seen is written. Otherwise, nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256

from django.db import transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.batches import split_into_batches
from orgadmin.access.origin import BULK_CHANGE, by_means_of
from orgadmin.access.roles import Role
from orgadmin.models import Organization, User
from orgadmin.models.guards import find_orphaned_by, keep_a_superuser, lock_users
from orgadmin.people import mail, outbox
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.held_roles import (
    BATCH,
    HeldRole,
    Holding,
    find_current_roles,
    list_all_roles,
)
from orgadmin.people.invitations import invite
from orgadmin.people.membership import (
    change_roles,
    find_organizations_losing_last_admin,
    lock,
)
from orgadmin.people.offboarding import offboard_all
from orgadmin.people.succession import hand_over

# How many roles can change at once. docs/operations.md says how long this takes.
LIMIT = 20_000

# How many invitations can be sent at once. Each of them is an email.
INVITED_AT_ONCE = 500

# How many people can be offboarded at once. Each account takes several queries.
OFFBOARDED_AT_ONCE = 200


class TooManyChanges(Exception):
    """A change is about more than LIMIT roles, even if some of them do not change."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class PlanChanged(Exception):
    """The change would no longer do what the person has seen."""


@dataclass(frozen=True)
class PlannedRole:
    """The role of a person in an organization, before and after a change.

    None means that they do not have a role.
    """

    user: User
    organization: Organization
    before: HeldRole | None
    after: HeldRole | None

    @property
    def is_needed(self) -> bool:
        return self.before != self.after

    def make_change(self) -> RoleChange:
        """Return the change that `change_roles()` makes for this plan."""
        if self.after is None:
            return RoleChange(self.user, self.organization, role=None)
        end = MembershipEnd(self.after.ends_at)
        return RoleChange(self.user, self.organization, self.after.role, end=end)


@dataclass(frozen=True)
class PlannedInvitation:
    """An invitation for an email address that does not belong to an account."""

    email: str
    organization: Organization


@dataclass(frozen=True)
class GiveRole:
    """Give people a role in organizations, until `ends_at` if it is not None.

    People keep a role that permits more, or that permits the same and lasts longer.
    `emails` are addresses of people without an account, who are invited.
    """

    users: Sequence[User]
    organizations: Sequence[Organization]
    role: Role
    ends_at: datetime | None = None
    emails: Sequence[str] = ()

    kind = "give"

    def list_people(self) -> list[User]:
        return [*self.users]

    def list_wanted(self) -> list[PlannedRole]:
        """Return every role before and after, even if it does not change.

        Raises `TooManyChanges`.
        """
        check_number(len(self.users) * len(self.organizations))
        current = find_current_roles(self.users, self.organizations)
        given = HeldRole(self.role, self.ends_at)
        wanted = []
        for organization in self.organizations:
            for user in self.users:
                before = current.get((user.pk, organization.pk))
                after = choose_better(before, given)
                wanted.append(PlannedRole(user, organization, before, after))
        return wanted

    def list_invitations(self) -> list[PlannedInvitation]:
        return [
            PlannedInvitation(email, organization)
            for organization in self.organizations
            for email in self.emails
        ]

    def replace_people(self, stored: Mapping[int, User]) -> GiveRole:
        return replace(self, users=get_stored_users(self.users, stored))


@dataclass(frozen=True)
class ReplacePerson:
    """Give all roles of the person `old` to the person `new`, with their ends.

    `new` keeps a role that permits more, or that permits the same and lasts longer, and
    does not get roles in archived organizations. With `ends_old_roles`, `old` loses all
    roles, including those in archived organizations.
    """

    old: User
    new: User
    ends_old_roles: bool

    kind = "replace"

    def list_people(self) -> list[User]:
        return [self.old, self.new]

    def list_wanted(self) -> list[PlannedRole]:
        """Return the roles of `new`, and those that `old` loses, before and after.

        Raises `TooManyChanges`.
        """
        holdings = list_all_roles([self.old])
        check_number(len(holdings))
        organizations = [row.organization for row in holdings]
        current = find_current_roles([self.new], organizations)
        wanted = []
        for row in holdings:
            if row.organization.archived_at is not None:
                # Nobody can get a role in an archived organization.
                continue
            before = current.get((self.new.pk, row.organization.pk))
            after = choose_better(before, row.held)
            wanted.append(PlannedRole(self.new, row.organization, before, after))
        if self.ends_old_roles:
            wanted += [end_role(row) for row in holdings]
        return wanted

    def replace_people(self, stored: Mapping[int, User]) -> ReplacePerson:
        [old, new] = get_stored_users([self.old, self.new], stored)
        return replace(self, old=old, new=new)


@dataclass(frozen=True)
class EndAccess:
    """End all roles of people, now or at `ends_at`.

    Roles that end earlier do not change. Roles in archived organizations always end
    now. With `offboards`, all other access ends, too, and everything ends now.
    """

    users: Sequence[User]
    offboards: bool
    ends_at: datetime | None = None

    kind = "end"

    def list_people(self) -> list[User]:
        return [*self.users]

    def list_wanted(self) -> list[PlannedRole]:
        """Return all roles of the people before and after. Raises `TooManyChanges`."""
        holdings = list_all_roles(self.users)
        check_number(len(holdings))
        if self.ends_at is None or self.offboards:
            return [end_role(row) for row in holdings]
        wanted = []
        for row in holdings:
            # End roles in archived organizations now. Otherwise, the person would get
            # access again if the organization is restored before `ends_at`.
            if row.organization.archived_at is not None:
                wanted.append(end_role(row))
            else:
                wanted.append(limit_role(row, self.ends_at))
        return wanted

    def replace_people(self, stored: Mapping[int, User]) -> EndAccess:
        return replace(self, users=get_stored_users(self.users, stored))


BulkChange = GiveRole | ReplacePerson | EndAccess


@dataclass(frozen=True)
class Plan:
    """What a bulk change would do now."""

    change: BulkChange
    changes: Sequence[PlannedRole]
    skipped: Sequence[PlannedRole] = field(default_factory=list)  # do not change
    # Organizations that would be left without an active admin.
    orphaned: Sequence[Organization] = field(default_factory=list)
    invitations: Sequence[PlannedInvitation] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A hash of everything that the plan changes.

        It does not cover the names of people and organizations.
        """
        lines = [describe_change(self.change)]
        lines += [describe_person(user) for user in self.change.list_people()]
        lines += [describe_role(row) for row in [*self.changes, *self.skipped]]
        lines += [f"orphaned {organization.pk}" for organization in self.orphaned]
        lines += [describe_invitation(self.change, row) for row in self.invitations]
        return sha256("\n".join(sorted(lines)).encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """What a bulk change has done."""

    changed: int
    skipped: int
    invited: int = 0


def make_plan(change: BulkChange, wanted: Sequence[PlannedRole] | None = None) -> Plan:
    """Return what a change would do now. Raises `TooManyChanges`.

    `wanted` is the result of `change.list_wanted()`, if the caller has it.
    """
    if wanted is None:
        wanted = change.list_wanted()
    plan = Plan(
        change,
        changes=[row for row in wanted if row.is_needed],
        skipped=[row for row in wanted if not row.is_needed],
        invitations=change.list_invitations() if isinstance(change, GiveRole) else [],
    )
    return replace(plan, orphaned=find_orphaned(plan))


def find_orphaned(plan: Plan) -> list[Organization]:
    """Return the organizations left without an active admin, sorted by name."""
    change = plan.change
    if isinstance(change, EndAccess) and change.offboards:
        return find_orphaned_by(change.users)
    changes = [row.make_change() for row in plan.changes]
    orphaned = find_organizations_losing_last_admin(changes)
    return sorted(orphaned, key=lambda row: (row.name, row.pk))


@transaction.atomic
def carry_out(
    change: BulkChange,
    *,
    actor: User,
    seen: str,
    reason: str = "",
    confirmed: Collection[int] = (),
    successors: Mapping[int, User] | None = None,
) -> Result:
    """Make a bulk change after the actor, a superuser, has seen its preview.

    `seen` is the digest of the plan in the preview. For `confirmed`, see
    `change_roles()`, and for `successors`, see `hand_over()`. They are only used if
    access ends. Each person with an account gets at most one email about their own
    roles, and at most one about the roles of others. Invited people get one email for
    each organization.

    Raises `PlanChanged` if the plan has changed since the preview, `TooManyChanges`,
    `LastSuperuserError`, and the exceptions of `change_roles()`, `hand_over()` and
    `invite()`. Nothing is written in these cases.
    """
    successors = successors or {}
    plan = lock_and_plan(change, successors)
    if plan.digest != seen:
        raise PlanChanged
    with by_means_of(BULK_CHANGE):
        make_changes(plan, actor, reason, confirmed, successors)
    result = Result(len(plan.changes), len(plan.skipped), len(plan.invitations))
    record_change(plan, result, actor)
    return result


def make_changes(
    plan: Plan,
    actor: User,
    reason: str,
    confirmed: Collection[int],
    successors: Mapping[int, User],
) -> None:
    """Make the changes of a plan, and notify people of them."""
    change = plan.change
    if isinstance(change, EndAccess) and change.offboards:
        offboard_all(
            change.users,
            actor=actor,
            reason=reason,
            confirmed=confirmed,
            successors=successors,
        )
        return
    made = hand_over(
        change.list_people(),
        successors,
        actor=actor,
        keeps_account=True,
        notify=False,
    )
    made += change_roles(
        [row.make_change() for row in plan.changes],
        actor=actor,
        reason=reason,
        confirmed=confirmed,
        notify=False,
    )
    # One call for all changes, so that nobody gets an email for each of them.
    mail.notify(made, actor)
    if isinstance(change, GiveRole):
        send_invitations(change, plan.invitations, actor)


def send_invitations(
    change: GiveRole, planned: Sequence[PlannedInvitation], actor: User
) -> None:
    """Invite people without an account, and queue the emails.

    Replaces their earlier invitations to the same organizations.
    """
    for row in planned:
        invitation = invite(
            row.organization,
            row.email,
            change.role,
            actor=actor,
            is_limited=False,
            ends_at=change.ends_at,
        )
        outbox.enqueue(mail.send_invitation, invitation=invitation.pk)


def lock_and_plan(change: BulkChange, successors: Mapping[int, User]) -> Plan:
    """Lock the people and organizations that a change concerns, and plan it.

    The locks are taken in the order of `models/guards.py`. Until the transaction ends,
    other transactions cannot change the roles of these people, or the admins of these
    organizations. Raises `PlanChanged` if one of them was deleted, `TooManyChanges`,
    and `LastSuperuserError`.
    """
    pks = {user.pk for user in change.list_people()}
    others = {user.pk for user in successors.values()}
    users: dict[int, User] = {}
    for batch in split_into_batches(sorted(pks | others), BATCH):
        users.update({user.pk: user for user in lock_users(batch, using="default")})
    if pks - users.keys():
        raise PlanChanged
    change = change.replace_people(users)
    if isinstance(change, EndAccess) and change.offboards:
        keep_a_superuser(change.users, using="default")
    wanted = change.list_wanted()
    organizations = {row.organization.pk for row in wanted}
    organizations.update(successors)
    for batch in split_into_batches(sorted(organizations), BATCH):
        if len(lock(Organization, batch)) < len(batch):
            raise PlanChanged
    return make_plan(change, wanted)


def record_change(plan: Plan, result: Result, actor: User) -> None:
    """Record in the audit log that many roles were changed at once."""
    details = {
        "kind": plan.change.kind,
        "people": len(plan.change.list_people()),
        "changed": result.changed,
        "skipped": result.skipped,
    }
    if result.invited:
        details["invited"] = result.invited
    record(SecurityEvent.ROLES_CHANGED, actor=actor, details=details)


def check_number(number: int) -> None:
    """Raise `TooManyChanges` if a change is about more than LIMIT roles."""
    if number > LIMIT:
        raise TooManyChanges(number)


def choose_better(before: HeldRole | None, given: HeldRole) -> HeldRole:
    """Return the role that permits more. If both permit the same, the longer one."""
    if before is None or given.permits_more_than(before):
        return given
    if before.permits_more_than(given) or not given.lasts_longer_than(before):
        return before
    return given


def end_role(row: Holding) -> PlannedRole:
    """Plan that a role ends now."""
    return PlannedRole(row.user, row.organization, before=row.held, after=None)


def limit_role(row: Holding, ends_at: datetime) -> PlannedRole:
    """Plan that a role ends at `ends_at`, unless it ends earlier."""
    limited = HeldRole(row.held.role, ends_at)
    after = limited if row.held.lasts_longer_than(limited) else row.held
    return PlannedRole(row.user, row.organization, before=row.held, after=after)


def get_stored_users(users: Iterable[User], stored: Mapping[int, User]) -> list[User]:
    """Return the stored instances of these users, in the same order.

    `stored` is {user ID: user}.
    """
    return [stored[user.pk] for user in users]


def describe_change(change: BulkChange) -> str:
    """Return the kind of a change and its options, for the digest."""
    match change:
        case ReplacePerson():
            return f"{change.kind} {change.ends_old_roles}"
        case EndAccess():
            return f"{change.kind} {change.offboards}"
        case _:
            return change.kind


def describe_person(user: User) -> str:
    return f"person {user.pk} {user.is_active} {user.is_superuser} {user.is_staff}"


def describe_role(row: PlannedRole) -> str:
    before = describe_held(row.before)
    after = describe_held(row.after)
    return f"{row.user.pk} {row.organization.pk} {before} {after}"


def describe_invitation(change: BulkChange, row: PlannedInvitation) -> str:
    """Return the address, organization, role and end of an invitation."""
    if not isinstance(change, GiveRole):
        return ""
    given = describe_held(HeldRole(change.role, change.ends_at))
    return f"invited {row.email} {row.organization.pk} {given}"


def describe_held(held: HeldRole | None) -> str:
    return "-" if held is None else f"{held.role.key} {held.ends_at}"
