"""Superusers' decisions in an access review about access without a role."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from django.core.exceptions import PermissionDenied
from django.db import transaction

from orgadmin.access.rule import is_active_superuser
from orgadmin.models import Decided, ReviewAnswer, ReviewItem, ReviewSection, User
from orgadmin.people.membership import lock
from orgadmin.people.review_decisions import (
    Decision,
    Outcome,
    add_decisions,
    close_as_left,
    list_unchanged,
    lock_people,
    make_row,
)
from orgadmin.people.review_paths import can_end, end_path, find_ended_paths


def confirm_other_paths(
    section: ReviewSection, keys: Collection[int], *, actor: User
) -> Outcome:
    """Confirm open items with these IDs, as `decide_other_paths()` does."""
    decisions = [Decision(key, ReviewAnswer.CONFIRMED) for key in keys]
    return decide_other_paths(section, decisions, actor=actor)


@transaction.atomic
def decide_other_paths(
    section: ReviewSection,
    decisions: Sequence[Decision],
    *,
    actor: User,
    reason: str = "",
) -> Outcome:
    """Confirm or end access that does not come from a role.

    Superusers can confirm their own access only if there is no other active superuser,
    and cannot end it. Leaves out items about which someone else has decided in the
    meantime. Raises `PermissionDenied` unless the actor is a superuser, or if the
    settings of the site give the access that would end. Also raises `ReviewIsComplete`
    and `LastSuperuserError`.
    """
    wanted = {decision.item: decision for decision in decisions}
    actor, items = lock_other_paths(section, wanted, actor)
    ended = find_ended_paths(items)
    superusers = User.objects.filter(is_superuser=True, is_active=True)
    needs_other = superusers.exclude(pk=actor.pk).exists()
    outcome = Outcome()
    for item in items:
        decision = wanted[item.pk]
        is_ending = decision.answer == ReviewAnswer.ENDED
        if is_ending and not can_end(item):
            raise PermissionDenied("The settings of the site give this access.")
        if item.pk in ended:
            outcome.left.append(item)
        elif item.user_key == actor.pk and (needs_other or is_ending):
            outcome.own.append(item)
        else:
            outcome.decided.append(decide_path(item, decision, actor, reason))
    close_as_left(section, outcome.left)
    add_decisions(section, outcome.decided)
    return outcome


def lock_other_paths(
    section: ReviewSection, wanted: Mapping[int, Decision], actor: User
) -> tuple[User, list[ReviewItem]]:
    """Lock what these decisions depend on, and return the actor and the items.

    `wanted` is {item ID: decision}. Raises `PermissionDenied` and `ReviewIsComplete`.
    """
    chosen = ReviewItem.objects.filter(section=section, pk__in=wanted)
    stored = lock_people(chosen, actor)
    if not is_active_superuser(stored):
        raise PermissionDenied("Only superusers decide about access without a role.")
    lock(ReviewSection, [section.pk])
    return stored, list_unchanged(section, chosen, wanted)


def decide_path(
    item: ReviewItem, decision: Decision, actor: User, reason: str
) -> Decided:
    """Carry out a decision about access without a role, and return its unsaved row."""
    is_ending = decision.answer == ReviewAnswer.ENDED
    if is_ending:
        end_path(item, actor=actor)
    return make_row(
        decision.number,
        item=item,
        answer=decision.answer,
        actor_key=actor.pk,
        actor_name=str(actor),
        role_before=item.role,
        role="" if is_ending else item.role,
        reason=reason,
    )
