"""Activity for org admins: requests and access reviews of their own organizations.

The audit log has both, but org admins cannot read the audit log.
"""

from __future__ import annotations

import datetime
from typing import Any

from django.db.models import Count, F, Min, QuerySet, Value
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from orgadmin.models import AccessRequest, MembershipEvent, ReviewSection, User
from orgadmin.models.access_request import Outcome
from orgadmin.records.event_actors import hide_platform_staff_of_several
from orgadmin.records.feed.audit_events import describe_request
from orgadmin.records.feed.entries import Entry, Row, make_key, read_key
from orgadmin.records.feed.scope import Scope

# Only the newest reviews are read. An organization rarely has more than four in a year.
MAX_REVIEWS = 50


def read_requests(scope: Scope, before: int, size: int) -> list[Row]:
    """Return who asked the person's organizations for a role, and who was declined.

    Approved requests are left out, because the membership log has them. Returns [] for
    people who can view all organizations, who see the audit log's events instead, if
    they are allowed to. Runs up to two queries.
    """
    if scope.sees_all or not scope.managed_pks:
        return []
    requests = AccessRequest.objects.filter(organization__in=scope.managed_pks)
    requests = requests.order_by()
    asked = requests.annotate(at=F("asked_at"), is_declined=Value(False))
    declined = requests.filter(outcome=Outcome.DECLINED)
    declined = declined.annotate(at=F("decided_at"), is_declined=Value(True))
    if before:
        moment = read_key(before)
        asked = asked.filter(asked_at__lt=moment)
        declined = declined.filter(decided_at__lt=moment)
    columns = (
        *("at", "is_declined", "role", "organization", "user", "user__username"),
        *("user__first_name", "user__last_name"),
        *("decided_by", "decided_by__username"),
    )
    both = asked.values(*columns).union(declined.values(*columns), all=True)
    rows = list(both.order_by("-at")[:size])
    authors = [name_author(row) for row in rows]
    if rows:
        hide_platform_staff_of_several(authors, scope.user)
    return [
        Row("requests", make_key(row["at"]), make_entry_of_request(row, author))
        for row, author in zip(rows, authors)
    ]


def name_author(row: dict[str, Any]) -> MembershipEvent:
    """Return the author of a row: who declined a request.

    A row about asking for a role has no author, because the subject is the person who
    asked.
    """
    if not row["is_declined"]:
        return MembershipEvent(organization_key=row["organization"])
    return MembershipEvent(
        organization_key=row["organization"],
        actor_key=row["decided_by"],
        actor_name=row["decided_by__username"] or "",
    )


def name_asker(row: dict[str, Any]) -> str:
    """Return the name of the person who asked, without their email address."""
    user = User(
        username=row["user__username"],
        first_name=row["user__first_name"],
        last_name=row["user__last_name"],
    )
    return user.label_without_email


def make_entry_of_request(row: dict[str, Any], author: MembershipEvent) -> Entry:
    return Entry(
        at=row["at"],
        text=describe_request(row["role"], is_declined=row["is_declined"]),
        organization_key=row["organization"],
        other=(User, row["user"]),
        other_name=name_asker(row),
        author_key=author.actor_key,
        author_name=author.actor_name,
    )


def read_reviews(scope: Scope, before: int, size: int) -> list[Row]:
    """Return when access reviews of the person's organizations began and ended.

    The rows do not name the people who started the reviews. Returns [] for people who
    can view all organizations. Runs up to one query.
    """
    if scope.sees_all or not scope.managed_pks:
        return []
    sections = ReviewSection.objects.filter(organization_key__in=scope.managed_pks)
    rows = []
    for review in select_reviews(sections):
        started_at, completed_at, is_cancelled, due_on, number, key = review
        rows.append(make_row(started_at, describe_start(due_on), number, key))
        if completed_at is not None:
            text = _("access review completed")
            if is_cancelled:
                text = _("access review canceled")
            rows.append(make_row(completed_at, text, number, key))
    rows.sort(key=lambda row: row.key, reverse=True)
    return [row for row in rows if not before or row.key < before][:size]


def select_reviews(sections: QuerySet[ReviewSection]) -> QuerySet[ReviewSection, Any]:
    """Return the newest reviews, with the number of their sections and an organization.

    Leaves out reviews that are still being prepared, because they have not asked anyone
    yet.
    """
    asking = sections.filter(review__prepared_at__isnull=False)
    reviews = asking.order_by("-review_id").values("review")
    counted = reviews.annotate(number=Count("pk"), key=Min("organization_key"))
    return counted.values_list(
        "review__started_at",
        "review__completed_at",
        "review__is_cancelled",
        "review__due_on",
        "number",
        "key",
    )[:MAX_REVIEWS]


def describe_start(due_on: datetime.date) -> str:
    day = date_format(due_on, "DATE_FORMAT")
    return _("access review started, answers until %(day)s") % {"day": day}


def make_row(at: datetime.datetime, text: str, number: int, key: int) -> Row:
    entry = Entry(at, text, organization_key=key, organizations=number)
    return Row("reviews", make_key(at), entry)
