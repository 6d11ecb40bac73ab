"""Makes other people admins of the organizations of people who leave."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_lazy as _, gettext_noop

from orgadmin.access.roles import ADMIN, ROLES
from orgadmin.models import Membership, Organization, User
from orgadmin.models.guards import find_orphaned_by, keep_a_superuser, lock_users
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles, lock

REASON = gettext_noop("Takes over from an admin who leaves.")


class SuccessionRefused(Exception):
    """The organizations cannot be handed over to the chosen people."""

    explanation: Any = ""

    def __str__(self) -> str:
        return str(self.explanation)


class SuccessorUnavailable(SuccessionRefused):
    explanation = _(
        "Nothing was changed, because someone who was to take over has left in the"
        " meantime. Choose someone else."
    )


class SuccessionChanged(SuccessionRefused):
    explanation = _(
        "Nothing was changed, because the admins of these organizations have changed in"
        " the meantime. Read the list of organizations again."
    )


@transaction.atomic
def hand_over(
    leaving: Collection[User],
    successors: Mapping[int, User],
    *,
    actor: User | None,
    keeps_account: bool = False,
    notify: bool = True,
) -> list[RoleChange]:
    """Make people admins of organizations that others are about to leave.

    Must run in the transaction that then ends the access of the users in `leaving`.
    `successors` is {organization ID: user}. With `keeps_account`, the users who leave
    lose only their roles, and may be the last superusers. This takes all locks of the
    transaction, in the order of `models/guards.py`. Returns the completed changes. If
    there are no successors, does nothing, and takes no locks.

    Raises `LastSuperuserError`, `SuccessorUnavailable` if a successor is leaving or has
    no active account, `SuccessionChanged` if an organization would keep an active admin
    anyway, and the exceptions of `change_roles()`.
    """
    if not successors:
        return []
    leaving_pks = {user.pk for user in leaving}
    successor_pks = {user.pk for user in successors.values()}
    users = lock_users(leaving_pks | successor_pks, using="default")
    locked = {user.pk: user for user in users}
    leavers = [user for user in users if user.pk in leaving_pks]
    if not keeps_account:
        keep_a_superuser(leavers, using="default")
    organizations = lock_organizations(leaving_pks, successors.keys())
    changes = []
    for pk, successor in successors.items():
        stored = locked.get(successor.pk)
        if stored is None or not stored.is_active or stored.pk in leaving_pks:
            raise SuccessorUnavailable
        if pk not in organizations:
            raise SuccessionChanged
        # With an end date, the organization could soon lose its last admin again.
        no_end = MembershipEnd(at=None)
        changes.append(RoleChange(stored, organizations[pk], ADMIN, end=no_end))
    orphaned = {organization.pk for organization in find_orphaned_by(leavers)}
    if not successors.keys() <= orphaned:
        raise SuccessionChanged
    return change_roles(changes, actor=actor, reason=REASON, notify=notify)


def lock_organizations(
    members: Collection[int], others: Collection[int]
) -> dict[int, Organization]:
    """Lock the organizations of these members, and others, in the order of their IDs.

    `members` are user IDs, and `others` are organization IDs. Returns {organization ID:
    organization}.
    """
    # Includes expired memberships.
    groups = Membership.objects.filter(user__in=members).values("group")
    pks = set(others)
    for role in ROLES:
        owners = Organization.objects.filter(**{f"{role.key}__in": groups})
        pks.update(owners.values_list("pk", flat=True))
    return lock(Organization, pks)
