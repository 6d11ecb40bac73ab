"""What the worker does for access reviews: schedules, requests, and people who leave.

Each function does its work in batches, each of which is one transaction that also notes
how far it got. So any of them can be killed at any time, and run by several workers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.batches import split_into_batches
from orgadmin.access.membership_log import Event
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AccessReview,
    Membership,
    MembershipEvent,
    Organization,
    ReviewNotice,
    ReviewRhythm,
    ReviewScope,
    ReviewSection,
    User,
)
from orgadmin.people import outbox
from orgadmin.people.ends import find_day
from orgadmin.people.membership import lock
from orgadmin.people.review_access import choose_access, find_access
from orgadmin.people.review_decisions import close_as_left
from orgadmin.people.review_due import TURN, close_unconfirmed
from orgadmin.people.review_items import continue_preparing
from orgadmin.people.review_locks import keep_open
from orgadmin.people.review_mail import ask_to_review
from orgadmin.people.reviews import NothingToReview, start_review

# How many people are asked in one transaction. Those who decide meanwhile wait for it.
PEOPLE_BATCH = 500

EVENTS_BATCH = 1_000

# {name: how long before the due date is over}. The first request is sent at the start.
START = "start"
REQUESTS = {
    "14 days": timedelta(days=14),
    "7 days": timedelta(days=7),
    "1 day": timedelta(days=1),
}


def run_reviews() -> None:
    """Do what is due for all reviews. The worker calls this about once a minute."""
    start_by_rhythm()
    continue_preparing()
    for review in list(AccessReview.objects.open().exclude(prepared_at=None)):
        close_left(review)
        close_archived(review)
        if review.is_due:
            close_unconfirmed(review)
        else:
            send_requests(review)
        complete_if_answered(review)


# Rhythms


def start_by_rhythm() -> None:
    """Start the reviews whose day has come, unless the previous one is still open."""
    today = find_day(read_clock())
    due = ReviewRhythm.objects.filter(is_active=True, next_on__lte=today)
    for pk in due.values_list("pk", flat=True):
        try:
            start_one_by_rhythm(pk)
        except IntegrityError:
            # Another worker has started it, or one is open.
            continue


@transaction.atomic
def start_one_by_rhythm(pk: int) -> None:
    today = find_day(read_clock())
    rhythms = ReviewRhythm.objects.select_for_update(no_key=True)
    rhythm = rhythms.filter(pk=pk, is_active=True, next_on__lte=today).first()
    if rhythm is None or rhythm.reviews.filter(completed_at=None).exists():
        return
    # Without members, there is nothing to ask until the next time.
    with suppress(NothingToReview):
        start_review(
            ReviewScope.ALL,
            due_on=today + timedelta(days=rhythm.answer_days),
            ends_access=rhythm.ends_access,
            rhythm=rhythm,
        )
    rhythm.next_on = today + timedelta(days=rhythm.every_days)
    rhythm.save(update_fields=["next_on"])


# Requests


def find_request(review: AccessReview, now: datetime) -> str:
    """Return the name of the latest request that admins should have got by now.

    If nothing was sent for a while, they get only this one. A short review has no
    request that would have been due before its start.
    """
    latest = START
    for name, before in REQUESTS.items():
        moment = review.due_at - before
        if review.prepared_at is not None and review.prepared_at < moment <= now:
            latest = name
    return latest


def send_requests(review: AccessReview) -> None:
    """Ask the admins who have not answered, once for each request.

    Stops after TURN, as `close_unconfirmed()` does.
    """
    end = time.monotonic() + TURN
    if not review.asking:
        name = find_request(review, read_clock())
        if name == review.asked:
            return
        begin_request(review.pk, name)
    while send_batch(review.pk):
        if time.monotonic() > end:
            return


def begin_request(pk: int, name: str) -> bool:
    """Have a request sent to all who have not answered. False: another one is."""
    reviews = AccessReview.objects.asking().filter(pk=pk, asking="")
    return bool(reviews.update(asking=name, asked_to=0))


def remind_now(review: AccessReview) -> bool:
    """Have a worker ask everyone who has not answered, once a day at most.

    Returns False if they were asked today, or are being asked.
    """
    name = f"by hand {find_day(read_clock())}"
    if review.notices.filter(kind=name).exists():
        return False
    return begin_request(review.pk, name)


@transaction.atomic
def send_batch(pk: int) -> bool:
    """Ask the next people to review. Returns False if nobody is left to ask."""
    reviews = AccessReview.objects.select_for_update(no_key=True).asking()
    review = reviews.filter(pk=pk).exclude(asking="").first()
    if review is None:
        return False
    # Starting from a range of people keeps the query small, however many there are.
    users = User.objects.filter(is_active=True, pk__gt=review.asked_to).order_by("pk")
    keys = list(users.values_list("pk", flat=True)[:PEOPLE_BATCH])
    if not keys:
        # A reminder by hand is not noted: otherwise, the last scheduled request would
        # be sent again.
        if review.asking in (START, *REQUESTS):
            review.asked = review.asking
        review.asking = ""
        review.save(update_fields=["asking", "asked"])
        return False
    ask(review, keys)
    review.asked_to = keys[-1]
    review.save(update_fields=["asked_to"])
    return True


def ask(review: AccessReview, keys: Collection[int]) -> None:
    """Ask those of these people who are admins of organizations without an answer.

    Records who is asked about which organization, and adds one email for each.
    """
    memberships = Membership.objects.current().filter(
        user__in=keys, group__administrators_of__isnull=False
    )
    rows = memberships.order_by("user", "group__administrators_of").values_list(
        "user", "user__username", "user__email", "group__administrators_of"
    )
    unanswered = find_unanswered(review, {row[-1] for row in rows})
    now = read_clock()
    notices = []
    addresses = {}
    for user, username, email, organization in rows:
        if organization not in unanswered:
            continue
        addresses[user] = email
        notices.append(
            ReviewNotice(
                review=review,
                organization_key=organization,
                user_key=user,
                user_name=username,
                kind=review.asking,
                at=now,
            )
        )
    ReviewNotice.objects.bulk_create(notices, batch_size=1_000, ignore_conflicts=True)
    outbox.enqueue_all(
        ask_to_review,
        [
            {"user": user, "review": review.pk}
            for user, email in addresses.items()
            if email
        ],
    )


def find_unanswered(review: AccessReview, organizations: Collection[int]) -> set[int]:
    """Return those of the organizations about which someone must still answer.

    A join with the memberships would make SQLite read all of them for each person.
    """
    sections = review.sections.unanswered()
    found: set[int] = set()
    for keys in split_into_batches(organizations, PEOPLE_BATCH):
        rows = sections.filter(organization_key__in=keys)
        found.update(row.organization_key or 0 for row in rows)
    return found


# People who leave


def close_left(review: AccessReview) -> None:
    """Close the items of people who have left since, as the membership log says.

    What it cannot find here, such as a deleted organization, is found at the end.
    """
    while close_left_batch(review):
        pass


@transaction.atomic
def close_left_batch(review: AccessReview) -> bool:
    """Read the next entries of the log. Returns False if there are no more."""
    events = MembershipEvent.objects.filter(pk__gt=review.log_position).order_by("pk")
    rows = list(
        events.values_list("pk", "event", "organization_key", "user_key")[:EVENTS_BATCH]
    )
    if not rows:
        return False
    left: dict[int | None, set[int]] = defaultdict(set)
    for _pk, event, organization, user in rows:
        if event == Event.LEFT and user is not None:
            left[organization].add(user)
    unanswered = review.sections.unanswered().filter(organization_key__in=left)
    sections = lock(ReviewSection, list(unanswered.values_list("pk", flat=True)))
    review.log_position = rows[-1][0]
    stored = AccessReview.objects.filter(pk=review.pk)
    if not stored.update(log_position=review.log_position):
        # Someone has canceled it.
        return False
    for section in sections.values():
        close_gone(section, left[section.organization_key])
    return True


def close_gone(section: ReviewSection, user_keys: Collection[int]) -> None:
    """Close the open items of those of these people who have no role any more.

    The section is locked.
    """
    items = section.items.filter(user_key__in=user_keys, decision=None)
    key = section.organization_key or 0
    organization = Organization.objects.filter(pk=key).first()
    gone = list(items)
    if organization is not None:
        access_of = find_access(organization, gone)
        gone = [item for item in gone if choose_access(item, access_of) is None]
    close_as_left(section, gone)


def close_archived(review: AccessReview) -> None:
    """Close the items of organizations that were archived since. Nobody has access."""
    archived = Organization.objects.archived().order_by().values("pk")
    sections = review.sections.unanswered().filter(organization_key__in=archived)
    for pk in sections.values_list("pk", flat=True):
        close_all(pk)


@transaction.atomic
def close_all(section_pk: int) -> None:
    section = lock(ReviewSection, [section_pk])[section_pk]
    if keep_open(section.review_id):
        close_as_left(section, section.items.filter(decision=None))


@transaction.atomic
def complete_if_answered(review: AccessReview) -> None:
    """Complete a review of which nothing is open. From now on, it cannot change."""
    reviews = AccessReview.objects.open().exclude(prepared_at=None)
    stored = reviews.select_for_update(no_key=True).filter(pk=review.pk).first()
    if stored is None or stored.sections.unanswered().exists():
        return
    stored.completed_at = read_clock()
    stored.asking = ""
    stored.save(update_fields=["completed_at", "asking"])
    record(SecurityEvent.REVIEW_COMPLETED, details={"review": stored.pk})
