"""Exporting what an access review asked and what was decided, as rows of a CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orgadmin.models import AccessReview, ReviewDecision, ReviewItem
from orgadmin.records.batches import BATCH
from orgadmin.records.exports import show_time

EVIDENCE_COLUMNS = (
    "review",
    "organization_id",
    "organization",
    "access",
    "person_id",
    "person",
    "name",
    "role",
    "details",
    "since",
    # The site's log does not know an earlier time than "since".
    "since_is_latest",
    "added_by_id",
    "added_by",
    "last_sign_in",
    "ends",
    "decision",
    "decided_at",
    "decided_by_id",
    "decided_by",
    "own_access",
    "role_before",
    "role_after",
    "ends_after",
    "reason",
)

NOTICE_COLUMNS = (
    "review",
    "organization_id",
    "person_id",
    "person",
    "request",
    "at",
)


def list_evidence(review: AccessReview) -> Iterator[Sequence[object]]:
    """Yield a header and a row for each item of a review, with its decision.

    Keeps BATCH rows in memory, and runs one query for each of these.
    """
    yield EVIDENCE_COLUMNS
    items = ReviewItem.objects.filter(section__review=review).order_by("pk")
    items = items.select_related("section", "decision")
    last = 0
    while batch := list(items.filter(pk__gt=last)[:BATCH]):
        for item in batch:
            yield list_item(item)
        last = batch[-1].pk


def list_item(item: ReviewItem) -> list[object]:
    section = item.section
    decision: ReviewDecision | None = getattr(item, "decision", None)
    row: list[object] = [
        section.review_id,
        section.organization_key or item.organization_key,
        section.organization_name or item.organization_name,
        item.path,
        item.user_key,
        item.user_name,
        item.full_name,
        item.role,
        item.detail,
        show_time(item.since),
        write_flag(item.is_older),
        item.added_by_key,
        item.shown_added_by,
        show_time(item.last_sign_in),
        show_time(item.ends_at),
    ]
    if decision is None:
        return [*row, *[None] * (len(EVIDENCE_COLUMNS) - len(row))]
    return [
        *row,
        decision.answer,
        show_time(decision.at),
        decision.actor_key,
        decision.actor_name,
        write_flag(decision.is_own),
        decision.role_before,
        decision.role,
        show_time(decision.ends_at),
        decision.reason,
    ]


def list_notices(review: AccessReview) -> Iterator[Sequence[object]]:
    """Yield a header and a row for each time that someone was asked to answer."""
    yield NOTICE_COLUMNS
    notices = review.notices.order_by("pk")
    last = 0
    while batch := list(notices.filter(pk__gt=last)[:BATCH]):
        for notice in batch:
            yield [
                notice.review_id,
                notice.organization_key,
                notice.user_key,
                notice.user_name,
                notice.kind,
                show_time(notice.at),
            ]
        last = batch[-1].pk


def write_flag(is_so: bool) -> str:
    return "yes" if is_so else ""
