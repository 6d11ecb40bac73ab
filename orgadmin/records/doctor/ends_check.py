"""The doctor's check of memberships that have an end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.contrib.auth.models import Group
from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from orgadmin.access.permission_log import exclude_role_groups
from orgadmin.models import Membership
from orgadmin.people.expiry import remove_ended_memberships
from orgadmin.people.outbox import is_queued
from orgadmin.records.doctor.doctor import Issue

ENDED_MEMBERSHIP = _("ended membership")
END_IN_OTHER_GROUP = _("end in another group")

# The worker removes ended memberships every minute, unless someone else is changing the
# same rows. After this time, something is wrong.
OVERDUE_AFTER = timedelta(hours=1)


def examine_ends(*, fix: bool = False) -> Iterator[Issue]:
    """Yield ended memberships that the worker has not removed, and misplaced ends.

    An ended membership gives no access. But until it is removed, lists count its admin
    as active, and the membership log does not say that the person has left. With `fix`,
    removes ended memberships.

    An end is misplaced if the group of the membership does not belong to an
    organization. This cannot be repaired.
    """
    # These have ended.
    overdue = Membership.objects.filter(ends_at__lte=Now() - OVERDUE_AFTER).count()
    # With DEBUG, there is no worker.
    if overdue and is_queued():
        text = (
            f"memberships that ended more than an hour ago, and that no worker has"
            f" removed: {overdue:,}"
        )
        yield Issue(ENDED_MEMBERSHIP, text)
        if fix:
            remove_ended_memberships()
    # Some have ended, and others will end.
    others = Membership.objects.exclude(ends_at=None).filter(
        group__in=exclude_role_groups(Group.objects.order_by())
    )
    for row in others.select_related("user", "group"):
        text = (
            f"{row.user.username} is in the group “{row.group}” until"
            f" {row.ends_at:%Y-%m-%d %H:%M} UTC, but only roles in organizations can"
            " end. Django counts its permissions until a worker removes the person"
        )
        yield Issue(END_IN_OTHER_GROUP, text, is_repairable=False)
