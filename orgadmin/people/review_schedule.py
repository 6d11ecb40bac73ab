"""The worker's tasks for access reviews: schedules, requests, and people who leave.

Each function works in batches. A batch is one transaction, which also stores how far
the work has progressed. The worker can therefore be killed at any time, and several
workers can run these functions at once.
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
from orgadmin.people.review_due import MAX_WORK_TIME, close_unconfirmed
from orgadmin.people.review_items import continue_preparing
from orgadmin.people.review_locks import keep_review_open
from orgadmin.people.review_mail import ask_to_review
from orgadmin.people.reviews import NothingToReview, start_review

# How many people are asked in one transaction. People who answer have to wait for it.
PEOPLE_BATCH = 500

EVENTS_BATCH = 1_000

# {name of a request: time before the end of the due date}. Another one is sent at the
# start.
START = "start"
REQUESTS = {
    "14 days": timedelta(days=14),
    "7 days": timedelta(days=7),
    "1 day": timedelta(days=1),
}


def run_reviews() -> None:
    """Do all due work for reviews. Each worker calls this about once a minute."""
    start_scheduled_reviews()
    continue_preparing()
    for review in list(AccessReview.objects.open().exclude(prepared_at=None)):
        close_items_of_leavers(review)
        close_archived(review)
        if review.is_due:
            close_unconfirmed(review)
        else:
            send_requests(review)
        complete_if_answered(review)


# Schedules


def start_scheduled_reviews() -> None:
    """Start the scheduled reviews that are due, unless the previous one is open."""
    today = find_day(read_clock())
    due = ReviewRhythm.objects.filter(is_active=True, next_on__lte=today)
    for pk in due.values_list("pk", flat=True):
        try:
            start_scheduled_review(pk)
        except IntegrityError:
            # Another worker started this review, or the previous one is still open.
            continue


@transaction.atomic
def start_scheduled_review(pk: int) -> None:
    """Start the review of one schedule if it is due, and set its next date."""
    today = find_day(read_clock())
    schedules = ReviewRhythm.objects.select_for_update(no_key=True)
    schedule = schedules.filter(pk=pk, is_active=True, next_on__lte=today).first()
    if schedule is None or schedule.reviews.filter(completed_at=None).exists():
        return
    # If there are no members, this date is skipped.
    with suppress(NothingToReview):
        start_review(
            ReviewScope.ALL,
            due_on=today + timedelta(days=schedule.answer_days),
            ends_access=schedule.ends_access,
            rhythm=schedule,
        )
    schedule.next_on = today + timedelta(days=schedule.every_days)
    schedule.save(update_fields=["next_on"])


# Requests


def find_request(review: AccessReview, now: datetime) -> str:
    """Return the name of the latest request that is due now.

    Earlier requests that were not sent are skipped. Requests that would have been due
    before the start of the review are skipped, too.
    """
    latest = START
    for name, before in REQUESTS.items():
        moment = review.due_at - before
        if review.prepared_at is not None and review.prepared_at < moment <= now:
            latest = name
    return latest


def send_requests(review: AccessReview) -> None:
    """Send the request that is due to all admins of organizations with open items.

    Stops after MAX_WORK_TIME, as `close_unconfirmed()` does.
    """
    end = time.monotonic() + MAX_WORK_TIME
    if not review.asking:
        name = find_request(review, read_clock())
        if name == review.asked:
            return
        begin_request(review.pk, name)
    while send_batch(review.pk):
        if time.monotonic() > end:
            return


def begin_request(pk: int, name: str) -> bool:
    """Start sending the emails of one kind, such as START.

    Returns False if other emails of the review are still being sent, or if the review
    is being prepared or is closed.
    """
    reviews = AccessReview.objects.asking().filter(pk=pk, asking="")
    return bool(reviews.update(asking=name, asked_to=0))


def remind_now(review: AccessReview) -> bool:
    """Start sending a reminder to all admins of organizations with open items.

    This is possible once a day, in addition to the scheduled emails. Returns False if
    someone has already done so today, if other emails of the review are still being
    sent, or if the review is being prepared or is closed.
    """
    name = f"by hand {find_day(read_clock())}"
    if review.notices.filter(kind=name).exists():
        return False
    return begin_request(review.pk, name)


@transaction.atomic
def send_batch(pk: int) -> bool:
    """Send the current request to the next people. Return False if nobody is left."""
    reviews = AccessReview.objects.select_for_update(no_key=True).asking()
    review = reviews.filter(pk=pk).exclude(asking="").first()
    if review is None:
        return False
    # The query starts with a range of people, so it is fast however many there are.
    users = User.objects.filter(is_active=True, pk__gt=review.asked_to).order_by("pk")
    keys = list(users.values_list("pk", flat=True)[:PEOPLE_BATCH])
    if not keys:
        # A reminder by hand is not stored in `asked`. Otherwise, the last scheduled
        # request would be sent again.
        if review.asking in (START, *REQUESTS):
            review.asked = review.asking
        review.asking = ""
        review.save(update_fields=["asking", "asked"])
        return False
    ask_admins(review, keys)
    review.asked_to = keys[-1]
    review.save(update_fields=["asked_to"])
    return True


def ask_admins(review: AccessReview, keys: Collection[int]) -> None:
    """Ask the admins among these people whose organizations have open items.

    `keys` are user IDs. Records who is asked about which organization, and queues one
    email per person. Leaves out admins without an email address.
    """
    memberships = (
        Membership.objects.current()
        .filter(user__in=keys, group__administrators_of__isnull=False)
        .exclude(user__email="")
    )
    rows = memberships.order_by("user", "group__administrators_of").values_list(
        "user", "user__username", "group__administrators_of"
    )
    unanswered = find_unanswered(review, {row[-1] for row in rows})
    now = read_clock()
    notices = []
    users = set()
    for user, username, organization in rows:
        if organization not in unanswered:
            continue
        users.add(user)
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
        [{"user": user, "review": review.pk} for user in sorted(users)],
    )


def find_unanswered(review: AccessReview, organizations: Collection[int]) -> set[int]:
    """Return which of these organizations have open items. All values are IDs.

    This is a separate query because in a join with the memberships, SQLite would read
    all of them for each person.
    """
    sections = review.sections.unanswered()
    found: set[int] = set()
    for keys in split_into_batches(organizations, PEOPLE_BATCH):
        rows = sections.filter(organization_key__in=keys)
        found.update(row.organization_key or 0 for row in rows)
    return found


# People who leave


def close_items_of_leavers(review: AccessReview) -> None:
    """Close the items of people who left after the review started.

    Reads them from the membership log. Items that are not found there, such as those of
    deleted organizations, are closed at the end of the review.
    """
    while close_items_of_next_leavers(review):
        pass


@transaction.atomic
def close_items_of_next_leavers(review: AccessReview) -> bool:
    """Close the items of people who left in the next EVENTS_BATCH entries of the log.

    Returns False if there are no more entries, or if the review was canceled.
    """
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
        # Someone has canceled the review.
        return False
    for section in sections.values():
        close_items_without_access(section, left[section.organization_key])
    return True


def close_items_without_access(
    section: ReviewSection, user_keys: Collection[int]
) -> None:
    """Close the open items of the people who no longer have a role.

    `user_keys` are the people to check. The section must be locked.
    """
    items = section.items.filter(user_key__in=user_keys, decision=None)
    key = section.organization_key or 0
    organization = Organization.objects.filter(pk=key).first()
    without_access = list(items)
    if organization is not None:
        access_by_user = find_access(organization, without_access)
        without_access = [
            item
            for item in without_access
            if choose_access(item, access_by_user) is None
        ]
    close_as_left(section, without_access)


def close_archived(review: AccessReview) -> None:
    """Close the items of archived organizations, because nobody has access to them."""
    archived = Organization.objects.archived().order_by().values("pk")
    sections = review.sections.unanswered().filter(organization_key__in=archived)
    for pk in sections.values_list("pk", flat=True):
        close_section(pk)


@transaction.atomic
def close_section(section_pk: int) -> None:
    """Close all open items of a section, because their access has ended."""
    section = lock(ReviewSection, [section_pk])[section_pk]
    if keep_review_open(section.review_id):
        close_as_left(section, section.items.filter(decision=None))


@transaction.atomic
def complete_if_answered(review: AccessReview) -> None:
    """Complete a review without open items. Completed reviews cannot change."""
    reviews = AccessReview.objects.open().exclude(prepared_at=None)
    stored = reviews.select_for_update(no_key=True).filter(pk=review.pk).first()
    if stored is None or stored.sections.unanswered().exists():
        return
    stored.completed_at = read_clock()
    stored.asking = ""
    stored.save(update_fields=["completed_at", "asking"])
    record(SecurityEvent.REVIEW_COMPLETED, details={"review": stored.pk})
