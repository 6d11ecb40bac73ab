"""Removes the rows of memberships that have expired.

This does not affect anyone's access, because the access rule ignores a membership from
its end on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from django.db import transaction

from orgadmin.access.membership_log import (
    Event,
    MembershipChange,
    write_planned_ends,
)
from orgadmin.models import Membership, Organization, User
from orgadmin.people.held_roles import GroupOwner, find_group_owners

if TYPE_CHECKING:
    from django.db.models import QuerySet

BATCH = 500  # memberships in one transaction


def remove_ended_memberships() -> int:
    """Remove and log memberships that have expired, and return their number.

    Does not wait for locks: skips memberships whose user or organization is locked. The
    next call removes these.
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
    """Remove the memberships whose user and organization nobody else has locked.

    Returns their number. Locks users, then organizations, as all code does. The
    triggers that count admins would lock the organizations anyway.
    """
    ended = Membership.objects.ended().filter(pk__in=pks)
    free_users = _lock_free(User.objects.filter(pk__in=ended.values("user")))
    owners = find_group_owners(ended.values("group"))
    owner_pks = {owner.organization.pk for owner in owners.values()}
    free_organizations = _lock_free(Organization.objects.filter(pk__in=owner_pks))
    # Query again, because a membership may have got a new end before its user was
    # locked.
    rows = ended.filter(user__in=free_users).select_related("user", "group")
    removed = []
    changes = []
    others = []
    for row in rows.order_by("pk"):
        owner = owners.get(row.group_id)
        if owner is None:
            others.append(row)
        elif owner.organization.pk in free_organizations:
            removed.append(row.pk)
            changes.append(_describe_end(row, owner))
    # All of them have expired.
    Membership.objects.filter(pk__in=removed).delete()
    write_planned_ends(changes)
    for row in others:
        # remove() sends the signal that records changes of other groups in the audit
        # log.
        row.user.groups.remove(row.group)
    return len(removed) + len(others)


def _lock_free(rows: QuerySet) -> set[int]:
    """Lock the rows that no other transaction has locked, and return their IDs."""
    locked = rows.order_by("pk").select_for_update(no_key=True, skip_locked=True)
    return {row.pk for row in locked}


def _describe_end(row: Membership, owner: GroupOwner) -> MembershipChange:
    return MembershipChange(
        Event.LEFT,
        row.user_id,
        row.user.username,
        owner.organization.pk,
        owner.organization.name,
        owner.role,
        at=row.ends_at,
    )
