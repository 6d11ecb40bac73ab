"""Gives people roles because of their groups at an OpenID provider.

The settings map groups to roles in organizations. Each sign-in applies this mapping to
the person who signs in. It does not change roles in organizations that the mapping does
not name, or roles that did not come from the mapping.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from orgadmin.access.membership_log import REASON_SHOWN
from orgadmin.access.roles import ROLES_BY_KEY, Role, find_strongest, get_role
from orgadmin.models import Membership, MembershipEvent, Organization, User
from orgadmin.models.guards import LastAdminError
from orgadmin.people.changes import RoleChange
from orgadmin.people.held_roles import map_group_owners
from orgadmin.people.membership import change_roles, lock

if TYPE_CHECKING:
    from config.providers import GroupRole, OpenIDProvider

logger = logging.getLogger("orgadmin.company")


@dataclass(frozen=True)
class MappedRole:
    """The role in an organization that a person's groups give them."""

    role: Role | None
    groups: str  # the groups that give the role, for the membership log


@transaction.atomic
def apply_groups(
    user: User, provider: OpenIDProvider, groups: Collection[str]
) -> list[RoleChange]:
    """Give a person the roles of their groups, and remove roles of other groups.

    Returns the completed changes. Leaves roles unchanged that someone has given by
    hand, and the role of the last admin of an organization. Changes nothing if the
    person's sessions were ended after `user` was loaded: for example, the account was
    deactivated, or linked to someone else at the provider. Runs up to four queries if
    nothing changes, and none if the settings have no mapping.
    """
    if not provider.roles:
        return []
    # Other changes of the person's roles wait until this transaction ends.
    stored = lock(User, [user.pk]).get(user.pk)
    if stored is None or stored.session_epoch != user.session_epoch:
        return []
    mapped = map_groups(provider.roles, groups)
    # Archived organizations are skipped. After one was restored, the next sign-ins
    # update its members.
    unarchived = Organization.objects.unarchived()
    organizations = list(unarchived.filter(reference__in=mapped))
    held = find_held_roles(user, organizations)
    given = find_given_roles(user, provider, organizations)
    wanted: dict[str, list[RoleChange]] = defaultdict(list)
    for organization in organizations:
        target = mapped[str(organization.reference)]
        current = held[organization.pk]
        if not current <= given[organization.pk]:
            # Someone gave the person a role in this organization by hand.
            continue
        roles = set() if target.role is None else {target.role}
        if current != roles:
            change = RoleChange(user, organization, target.role)
            wanted[target.groups].append(change)
    made = []
    for reason, changes in wanted.items():
        made += change_except_last_admins(changes, provider, reason)
    return made


def map_groups(
    mapping: Collection[GroupRole], groups: Collection[str]
) -> dict[str, MappedRole]:
    """Return {organization reference: MappedRole} for all references in the mapping."""
    found: dict[str, list[GroupRole]] = {row.reference: [] for row in mapping}
    for row in mapping:
        if row.group in groups:
            found[row.reference].append(row)
    return {reference: choose_role(rows) for reference, rows in found.items()}


def choose_role(rows: Sequence[GroupRole]) -> MappedRole:
    """Return the role with the most permissions, and all groups that give this role.

    Without rows, returns no role.
    """
    roles = [ROLES_BY_KEY[row.role] for row in rows]
    role = find_strongest(roles)
    groups = [row.group for row in rows if ROLES_BY_KEY[row.role] is role]
    return MappedRole(role, ", ".join(groups)[:REASON_SHOWN])


def find_held_roles(
    user: User, organizations: Collection[Organization]
) -> Mapping[int, set[Role]]:
    """Return {organization ID: the user's current roles there}."""
    owners = map_group_owners(organizations)
    memberships = Membership.objects.current().filter(user=user, group__in=owners)
    held: dict[int, set[Role]] = defaultdict(set)
    for group_id in memberships.values_list("group", flat=True):
        owner = owners[group_id]
        held[owner.organization.pk].add(owner.role)
    return held


def find_given_roles(
    user: User, provider: OpenIDProvider, organizations: Collection[Organization]
) -> Mapping[int, set[Role]]:
    """Return {organization ID: roles that came from the provider's groups}.

    Leaves out roles that have ended, or that someone has changed afterwards.
    """
    events = MembershipEvent.objects.filter(
        user_key=user.pk,
        organization_key__in=[organization.pk for organization in organizations],
        source=provider.id,
    )
    given: dict[int, set[Role]] = defaultdict(set)
    for event in events.find_joining_events_of_members().defer("reason"):
        given[event.organization_key].add(get_role(event.role))
    return given


def change_except_last_admins(
    changes: list[RoleChange], provider: OpenIDProvider, reason: str
) -> list[RoleChange]:
    """Make the changes, except those that would remove an organization's last admin.

    If an organization is deleted or archived at the same time, no changes are made. The
    next sign-in makes them.
    """
    try:
        with transaction.atomic():
            return change_roles(changes, reason=reason, source=provider.id)
    except Organization.DoesNotExist:
        return []
    except LastAdminError as error:
        kept = [organization.pk for organization in error.organizations]
    logger.warning(
        "company sign-in: the last admin of an organization keeps their role",
        extra={"provider": provider.id, "organization_keys": kept},
    )
    others = [change for change in changes if change.organization.pk not in kept]
    return change_except_last_admins(others, provider, reason) if others else []
