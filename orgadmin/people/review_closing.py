"""Closes an access review before its due date, and cancels a mistaken one."""

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
    """A review cannot be canceled, because someone has made a decision in it."""

    def __str__(self) -> str:
        return str(
            _(
                "Someone has made a decision in this review. Close it instead of"
                " canceling it."
            )
        )


@dataclass(frozen=True)
class OpenItems:
    """How many items of a review do not have a decision."""

    members: int
    organizations: int  # organizations with such members
    others: int  # access that does not come from a role

    @property
    def is_empty(self) -> bool:
        return not self.members and not self.others


def count_open_items(review: AccessReview) -> OpenItems:
    """Count the items without a decision. Runs two queries."""
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
    """Close a review, so that nobody can answer it any longer.

    A worker then does the same as after the due date. Raises `PermissionDenied` unless
    the actor is a superuser, and `ReviewIsComplete` unless people can still answer.
    """
    stored = lock_for_closing(review, actor)
    if not stored.is_answerable:
        raise ReviewIsComplete
    note_closing(stored, actor)
    stored.save()
    record(SecurityEvent.REVIEW_CLOSED, actor=actor, details={"review": stored.pk})


@transaction.atomic
def cancel(review: AccessReview, *, actor: User) -> None:
    """Cancel a review in which nobody has decided anything. Nobody loses access.

    A review can also be canceled while it is being prepared. Raises `PermissionDenied`
    unless the actor is a superuser, `ReviewIsComplete` if the time to answer is over,
    and `AlreadyDecided`.
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
    """Lock a review that is not completed, and return it as stored.

    Waits for transactions that are storing decisions in the review. Transactions that
    start to store decisions later wait for this one. Raises `PermissionDenied` if the
    actor is not a superuser, and `ReviewIsComplete`.
    """
    locked_users = lock(User, [actor.pk])
    locked_actor = locked_users.get(actor.pk)
    if locked_actor is None or not is_active_superuser(locked_actor):
        raise PermissionDenied("Only superusers close access reviews.")
    reviews = AccessReview.objects.open().select_for_update(no_key=True)
    stored = reviews.filter(pk=review.pk).first()
    if stored is None:
        raise ReviewIsComplete
    return stored


def note_closing(review: AccessReview, actor: User) -> None:
    """Set the fields that say when a review was closed, and by whom."""
    review.closed_at = read_clock()
    review.closed_by_key = actor.pk
    review.closed_by_name = str(actor)


def has_decisions(review: AccessReview) -> bool:
    """Return whether a person has decided about an item of a review.

    Items that a worker closed because someone left do not count.
    """
    # At the start of a large review, few sections have answered items, so this is fast.
    begun = review.sections.filter(open_items__lt=F("items_total")).order_by()
    decided = {"item__section__in": begun.values("pk"), "actor_key__isnull": False}
    return any(
        model._default_manager.filter(**decided).exists()
        # A person may have replaced a decision of a worker.
        for model in (ReviewDecision, LaterDecision)
    )


def can_cancel(review: AccessReview) -> bool:
    """Return whether `cancel()` would accept the review now."""
    is_open = review.completed_at is None and not review.is_due
    return is_open and not has_decisions(review)
