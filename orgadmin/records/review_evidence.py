"""Exporting the items and decisions of an access review as rows of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orgadmin.models import AccessReview, Decided, ReviewItem
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
    # "yes" if the access began before "since", because the log does not go back further
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
    # "yes" if a later decision, in the next row, replaces this one
    "replaced",
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
    """Yield a header, and a row for each decision of a review and each open item.

    Reads the items in batches. Runs two queries per batch.
    """
    yield EVIDENCE_COLUMNS
    items = ReviewItem.objects.filter(section__review=review).order_by("pk")
    items = items.with_decisions().select_related("section")
    last = 0
    while batch := list(items.filter(pk__gt=last)[:BATCH]):
        for item in batch:
            yield from list_item(item)
        last = batch[-1].pk


def list_item(item: ReviewItem) -> Iterator[list[object]]:
    columns = list_asked(item)
    decisions = item.list_decisions()
    if not decisions:
        yield [*columns, *[None] * (len(EVIDENCE_COLUMNS) - len(columns))]
    for decision in decisions:
        is_replaced = decision is not decisions[-1]
        yield [*columns, *list_decided(decision), write_flag(is_replaced)]


def list_asked(item: ReviewItem) -> list[object]:
    section = item.section
    return [
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


def list_decided(decision: Decided) -> list[object]:
    return [
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
    """Yield a header, and a row for each time that someone was asked to answer."""
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


def write_flag(value: bool) -> str:
    return "yes" if value else ""
