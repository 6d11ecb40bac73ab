"""Removes the rows of memberships that have ended by their date.

This decides nothing: the access rule stops counting a membership at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, TypeAlias

from django.db import transaction
from django.db.models import Q

from orgadmin.access.membership_log import (
    Event,
    MembershipChange,
    write_planned_ends,
)
from orgadmin.access.roles import ROLES, Role
from orgadmin.models import Membership, Organization, User

if TYPE_CHECKING:
    from django.db.models import QuerySet

BATCH = 500  # memberships in one transaction

# {group ID: the organization that owns it, and the role of its members}
Owners: TypeAlias = dict[int, tuple[Organization, Role]]


def remove_ended_memberships() -> int:
    """Remove and log all memberships that have ended. Returns how many.

    Waits for nobody: leaves out those whose user or organization someone else is
    changing, until it is called again.
    """
    number = 0
    last_pk = 0
    while True:
        ended = Membership.objects.ended().filter(pk__gt=last_pk).order_by("pk")
        pks = list(ended.values_list("pk", flat=True)[:BATCH])
        if not pks:
            return number
        number += _remove(pks)
        last_pk = pks[-1]


@transaction.atomic
def _remove(pks: Collection[int]) -> int:
    """Remove those of the memberships that have ended and are free. Returns how many.

    Locks users, then organizations, as all code does. The triggers that count admins
    would lock the organizations anyway.
    """
    ended = Membership.objects.ended().filter(pk__in=pks)
    groups = ended.values("group")
    free_users = _lock_free(User.objects.filter(pk__in=ended.values("user")))
    found = Organization.objects.filter(Q(admin__in=groups) | Q(reviewer__in=groups))
    organizations = list(found.order_by())
    free_organizations = _lock_free(
        Organization.objects.filter(pk__in=[row.pk for row in organizations])
    )
    owners = _find_owners(organizations)
    # Someone may have given a membership another end before its user was locked.
    rows = ended.filter(user__in=free_users).select_related("user", "group")
    removed = []
    changes = []
    others = []
    for row in rows.order_by("pk"):
        if row.group_id not in owners:
            others.append(row)
            continue
        organization, role = owners[row.group_id]
        if organization.pk in free_organizations:
            removed.append(row.pk)
            changes.append(_describe_end(row, organization, role))
    # These have all ended.
    Membership.objects.filter(pk__in=removed).delete()
    write_planned_ends(changes)
    for row in others:
        # The audit log records changes of groups that are no roles.
        row.user.groups.remove(row.group)
    return len(removed) + len(others)


def _lock_free(rows: QuerySet) -> set[int]:
    """Lock the rows that nobody else has locked, and return their keys."""
    locked = rows.order_by("pk").select_for_update(no_key=True, skip_locked=True)
    return {row.pk for row in locked}


def _find_owners(organizations: Iterable[Organization]) -> Owners:
    owners = {}
    for organization in organizations:
        for role in ROLES:
            owners[getattr(organization, role.attname)] = (organization, role)
    return owners


def _describe_end(
    row: Membership, organization: Organization, role: Role
) -> MembershipChange:
    return MembershipChange(
        Event.LEFT,
        row.user_id,
        row.user.username,
        organization.pk,
        organization.name,
        role,
        at=row.ends_at,
    )
