"""Starts access reviews."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.groups import get_owner_relation
from orgadmin.access.roles import ROLES
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AccessReview,
    Membership,
    MembershipEvent,
    Organization,
    ReviewRhythm,
    ReviewScope,
    ReviewSection,
    User,
)
from orgadmin.models.guards import is_still_superuser
from orgadmin.people import outbox
from orgadmin.people.ends import find_day
from orgadmin.people.review_items import prepare_review

if TYPE_CHECKING:
    from django.db.models import QuerySet

ADD_LIST = """
    INSERT INTO orgadmin_reviewsection
        (review_id, organization_key, organization_name, items_total, open_items)
    SELECT %s, organization.id, organization.name, 0, 0
    FROM orgadmin_organization organization
    WHERE organization.id IN ({organizations})
        AND organization.archived_at IS NULL
"""


class DueDateInThePast(Exception):
    """The due date of a review is not after today."""

    def __str__(self) -> str:
        return str(_("Choose a due date after today."))


class NothingToReview(Exception):
    """Nobody has a role in the chosen organizations."""

    def __str__(self) -> str:
        return str(_("Nobody has a role in these organizations, so nobody is asked."))


@transaction.atomic
def start_review(
    scope: ReviewScope,
    *,
    due_on: date,
    ends_access: bool = False,
    organizations: QuerySet[Organization] | None = None,
    scope_text: str = "",
    rhythm: ReviewRhythm | None = None,
    actor: User | None = None,
) -> AccessReview:
    """Start a review. A worker then creates its items.

    People who join later are not part of the review. `organizations` are the chosen
    ones, or None for all; archived ones are left out. `actor` is None for a schedule.
    Raises `DueDateInThePast`, `NothingToReview`, and `PermissionDenied` unless the
    actor is a superuser.
    """
    if actor is not None and not is_still_superuser(actor):
        raise PermissionDenied("Only superusers start access reviews.")
    now = read_clock()
    if due_on <= find_day(now):
        raise DueDateInThePast
    if not has_members(organizations):
        raise NothingToReview
    newest = MembershipEvent.objects.order_by("pk").last()
    review = AccessReview.objects.create(
        started_at=now,
        started_by_key=actor.pk if actor else None,
        started_by_name=str(actor) if actor else "",
        scope=scope,
        scope_text=scope_text[:500],
        due_on=due_on,
        ends_access=ends_access,
        rhythm=rhythm,
        log_position=newest.pk if newest else 0,
    )
    if organizations is not None:
        keys = organizations.order_by().values("pk")
        sql, parameters = keys.query.sql_with_params()
        statement = ADD_LIST.format(organizations=sql)
        with connection.cursor() as cursor:
            cursor.execute(statement, [review.pk, *parameters])
    details = {"review": review.pk, "scope": scope, "ends_access": ends_access}
    record(SecurityEvent.REVIEW_STARTED, actor=actor, details=details)
    task = prepare_review.using(priority=outbox.URGENT)
    outbox.enqueue(task, review=review.pk)
    return review


def has_members(organizations: QuerySet[Organization] | None) -> bool:
    """Return whether anyone has a role in these organizations. None stands for all.

    Roles in archived organizations do not count.
    """
    covered = list_covered(organizations)
    memberships = Membership.objects.current()
    for role in ROLES:
        path = f"group__{get_owner_relation(role)}__in"
        if memberships.filter(**{path: covered}).exists():
            return True
    return False


def list_covered(organizations: QuerySet[Organization] | None) -> QuerySet:
    """Return a query for the IDs of the organizations that a review would cover."""
    if organizations is None:
        organizations = Organization.objects.all()
    return organizations.filter(archived_at=None).order_by().values("pk")


def find_overlapping(
    organizations: QuerySet[Organization] | None,
) -> QuerySet[AccessReview]:
    """Return the open reviews that cover any of these organizations; None means all.

    A review of all organizations overlaps even if its sections do not exist yet,
    because it is still being prepared.
    """
    sections = ReviewSection.objects.filter(
        review=OuterRef("pk"), organization_key__in=list_covered(organizations)
    )
    is_preparing = Q(scope=ReviewScope.ALL, prepared_at=None)
    return AccessReview.objects.open().filter(is_preparing | Exists(sections))
