"""The only writer of memberships and of their rows in the membership log."""

from collections import defaultdict

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q

from orgadmin.access.membership_log import Event, append
from orgadmin.access.roles import ADMIN, ROLES
from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.people import mail

BATCH = 5_000  # changes in one query, below SQLite's limit of 32,766 parameters


Membership = User.groups.through


class LastAdminError(Exception):
    """The last active admin of the organizations would go; only a superuser may leave them without."""


@transaction.atomic
def change_roles(wanted, *, actor=None, reason="", notify=True):
    """Make each role in `wanted`, (user, organization, role), the person's one role there; None takes them out.
    Return those that changed something, with what is stored as of now; each gets its row of the ledger. A dozen queries
    for BATCH of them. Raises Organization.DoesNotExist where one was deleted meanwhile, PermissionDenied where `actor`,
    a User, or None for a command, may not manage the people there or holds less than the role, and LastAdminError."""
    changes = [
        row
        for n in range(0, len(wanted), BATCH)
        for row in _change(wanted[n : n + BATCH], actor, reason)
    ]
    if notify:
        mail.notify(changes, actor)
    return changes


def _change(wanted, actor, reason):
    # Locked, people first: what is read here is what is changed, one change after the other.
    users = _lock(User, {user.pk for user, _, _ in wanted})
    organizations = _lock(
        Organization, {organization.pk for _, organization, _ in wanted}
    )
    if (
        missing := {organization.pk for _, organization, _ in wanted}
        - organizations.keys()
    ):
        raise Organization.DoesNotExist(f"There is no organization {missing}.")
    groups = [
        group
        for organization in organizations.values()
        for group in organization.group_ids
    ]
    memberships = Membership.objects.filter(user__in=users, group__in=groups)
    held = {
        (user, group): pk
        for pk, user, group in memberships.values_list("pk", "user", "group")
    }
    changes, stale, added, events = [], [], [], []
    wanted = [
        (users[user.pk], organizations[row.pk], role)
        for user, row, role in wanted
        if user.pk in users
    ]
    for user, organization, role in wanted:
        before = {
            other: key
            for other in ROLES
            if (key := held.get((user.pk, getattr(organization, other.attname))))
        }
        if set(before) == ({role} if role else set()):
            continue
        changes.append((user, organization, role))
        line = ((user.pk, user.username), (organization.pk, organization.name))
        gone = [other for other in before if other is not role]
        stale += [before[other] for other in gone]
        if role and role not in before:
            added.append(
                Membership(
                    user_id=user.pk, group_id=getattr(organization, role.attname)
                )
            )
            events.append((Event.JOINED, *line, role))
        else:
            events += [(Event.LEFT, *line, other) for other in gone]
    _check(changes, actor)
    Membership.objects.filter(pk__in=stale).delete()
    Membership.objects.bulk_create(
        added, ignore_conflicts=True
    )  # Django's own managers take no lock
    append(events, actor=actor, reason=reason)
    return changes


def _lock(model, pks):
    return {
        row.pk: row
        for row in model.objects.filter(pk__in=pks)
        .order_by("pk")
        .select_for_update(no_key=True)
    }


def _check(changes, actor):
    """Raise where `actor` may not make these changes: asked of the rule, now that nobody else can change it."""
    if actor is None or not changes:
        return
    actor = User.objects.filter(pk=actor.pk).first() or User(
        is_active=False
    )  # as is now, not as was remembered
    rights = {
        pk: Organization.objects.permitted_actions(actor, pk)
        for pk in {row.pk for _, row, _ in changes}
    }
    if not all(
        may_give(rights[organization.pk], role) for _user, organization, role in changes
    ):
        raise PermissionDenied("Nobody gives a role with rights that they do not hold.")
    if not actor.is_superuser and (orphans := find_orphans(changes)):
        raise LastAdminError(*orphans)


def may_give(rights, role):
    """Tell whether somebody with `rights` on an organization may give `role` there, or take one (None)."""
    return "manage_members" in rights and set(role.actions if role else ()) <= rights


def find_orphans(changes):
    """Return the organizations that these changes, (user, organization, role), leave without an active admin."""
    losing, admins = (
        defaultdict(set),
        defaultdict(set),
    )  # organization, its group -> users
    for user, organization, role in changes:
        if role is not ADMIN:
            losing[organization].add(user.pk)
    groups = [getattr(organization, ADMIN.attname) for organization in losing]
    for group, user in Membership.objects.filter(
        group__in=groups, user__is_active=True
    ).values_list("group", "user"):
        admins[group].add(user)
    return [
        row
        for row, users in losing.items()
        if set() < admins[getattr(row, ADMIN.attname)] <= users
    ]


@transaction.atomic
def set_groups(user, chosen, *, actor=None):
    """Make `chosen` the groups of `user`. A new role in an organization replaces the one that was there.
    Raises ValueError, with the organizations, where both roles in an organization are new."""
    _lock(User, [user.pk])
    before, chosen = set(user.groups.all()), set(chosen)
    roles = choose_roles(before, chosen)
    change_roles(
        [(user, organization, role) for organization, role in roles], actor=actor
    )
    owned = {pk for organization, _role in roles for pk in organization.group_ids}
    user.groups.remove(*(group for group in before - chosen if group.pk not in owned))
    user.groups.add(*(group for group in chosen - before if group.pk not in owned))


def choose_roles(before, chosen):
    """Return [(organization, role or None)] that `chosen` groups mean for whoever had the groups `before`; two sets.
    A new role counts more than one that was there. Raises ValueError, with the organizations, where it is unclear."""
    before, chosen, roles, unclear = (
        {group.pk for group in before},
        {group.pk for group in chosen},
        [],
        [],
    )
    for organization in Organization.objects.filter(
        Q(admin__in=before | chosen) | Q(reviewer__in=before | chosen)
    ):
        groups = {getattr(organization, role.attname): role for role in ROLES}
        wanted = groups.keys() & (chosen - before) or groups.keys() & chosen
        roles.append((organization, groups[min(wanted)] if wanted else None))
        unclear += [organization] * (len(wanted) > 1)
    if unclear:
        raise ValueError(unclear)
    return roles


def list_roles(user):
    """Return [(organization, role)] of a person, by name."""
    groups = Membership.objects.filter(user=user).values("group")
    owned = {
        role: Organization.objects.filter(**{f"{role.key}__in": groups})
        for role in ROLES
    }
    found = [
        (organization, role)
        for role, organizations in owned.items()
        for organization in organizations
    ]
    return sorted(found, key=lambda pair: (pair[0].name, pair[0].pk))


def describe_members(organization, memberships):
    """Set on each membership its `role` and the `joined` event of the ledger. One query."""
    users = [membership.user_id for membership in memberships]
    events = MembershipEvent.objects.filter(
        organization_key=organization.pk, user_key__in=users
    )
    joined = {(event.user_key, event.role): event for event in events.members_on()}
    for membership in memberships:
        membership.role = next(
            role
            for role in ROLES
            if getattr(organization, role.attname) == membership.group_id
        )
        membership.joined = joined.get((membership.user_id, membership.role.key))
