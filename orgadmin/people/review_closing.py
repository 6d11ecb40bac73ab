"""Closing an access review before its due date, and canceling a mistaken one."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, F, Sum
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.rule import is_active_superuser
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AccessReview,
    LaterDecision,
    ReviewDecision,
    ReviewIsComplete,
    User,
)
from orgadmin.people.membership import lock


class AlreadyDecided(Exception):
    """Someone has decided in a review, so it is evidence, and cannot be canceled."""

    def __str__(self) -> str:
        return str(
            _(
                "Someone has made a decision in this review. Close it instead of"
                " canceling it."
            )
        )


@dataclass(frozen=True)
class OpenItems:
    """What nobody has decided about in a review."""

    members: int
    organizations: int  # how many have such members
    others: int  # access that is not by a role

    @property
    def is_empty(self) -> bool:
        return not self.members and not self.others


def count_open_items(review: AccessReview) -> OpenItems:
    """Count what nobody has decided about. Runs two queries."""
    unanswered = review.sections.unanswered().order_by()
    of_members = unanswered.exclude(organization_key=None).aggregate(
        items=Sum("open_items", default=0), organizations=Count("pk")
    )
    others = unanswered.filter(organization_key=None).first()
    return OpenItems(
        members=of_members["items"],
        organizations=of_members["organizations"],
        others=others.open_items if others else 0,
    )


@transaction.atomic
def close_early(review: AccessReview, *, actor: User) -> None:
    """Let nobody answer from now on. A worker then does the same as at the due date.

    Raises `PermissionDenied` unless the actor is a superuser, and `ReviewIsComplete`
    unless people can still answer.
    """
    stored = lock_for_closing(review, actor)
    if not stored.is_answerable:
        raise ReviewIsComplete
    note_closing(stored, actor)
    stored.save()
    record(SecurityEvent.REVIEW_CLOSED, actor=actor, details={"review": stored.pk})


@transaction.atomic
def cancel(review: AccessReview, *, actor: User) -> None:
    """Complete a review in which nobody has decided anything, as it is.

    Nobody loses access because of it. Raises `PermissionDenied` and `ReviewIsComplete`
    as `close_early()` does, and `AlreadyDecided`. A review that is being prepared can
    be canceled, too.
    """
    stored = lock_for_closing(review, actor)
    if stored.is_due:
        raise ReviewIsComplete
    if has_decisions(stored):
        raise AlreadyDecided
    note_closing(stored, actor)
    stored.is_cancelled = True
    stored.completed_at = stored.closed_at
    stored.asking = ""
    stored.save()
    record(SecurityEvent.REVIEW_CANCELLED, actor=actor, details={"review": stored.pk})


def lock_for_closing(review: AccessReview, actor: User) -> AccessReview:
    """Return a review that is not completed, as stored.

    The lock waits for those who are deciding now, and those who come later wait for it.
    """
    people = lock(User, [actor.pk])
    if actor.pk not in people or not is_active_superuser(people[actor.pk]):
        raise PermissionDenied("Only superusers close access reviews.")
    reviews = AccessReview.objects.open().select_for_update(no_key=True)
    stored = reviews.filter(pk=review.pk).first()
    if stored is None:
        raise ReviewIsComplete
    return stored


def note_closing(review: AccessReview, actor: User) -> None:
    review.closed_at = read_clock()
    review.closed_by_key = actor.pk
    review.closed_by_name = str(actor)


def has_decisions(review: AccessReview) -> bool:
    """Return whether a person has decided about anything in a review.

    A worker closes the items of people who leave, which is no decision.
    """
    # Large reviews have few of these at the start, and many items.
    begun = review.sections.filter(open_items__lt=F("items_total")).order_by()
    decided = {"item__section__in": begun.values("pk"), "actor_key__isnull": False}
    return any(
        model._default_manager.filter(**decided).exists()
        # Someone may have replaced what a worker has noted.
        for model in (ReviewDecision, LaterDecision)
    )


def can_cancel(review: AccessReview) -> bool:
    """Return whether `cancel()` would not refuse to cancel a review now."""
    is_open = review.completed_at is None and not review.is_due
    return is_open and not has_decisions(review)
