"""Closes unconfirmed items when an access review is over, and ends access.

Each batch is one transaction, so a worker can be killed at any time, and the next one
continues.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now

# The membership log stores reasons in English.
from django.utils.translation import gettext_noop

from orgadmin.models import (
    AccessReview,
    Membership,
    Organization,
    ReviewAnswer,
    ReviewDecision,
    ReviewItem,
    ReviewSection,
    User,
)
from orgadmin.models.guards import find_active_members
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles, lock
from orgadmin.people.review_access import Access, choose_role, find_access_to_each
from orgadmin.people.review_decisions import add_decisions, create_decisions
from orgadmin.people.review_locks import keep_review_open
from orgadmin.people.review_paths import find_ended_paths

# How many organizations and items are closed in one transaction.
SECTIONS_BATCH = 100
ITEMS_BATCH = 2_000

# How long the worker closes items before it does other work.
MAX_WORK_TIME = 20  # seconds

NOT_CONFIRMED = gettext_noop("Nobody confirmed the access in an access review.")


def close_unconfirmed(review: AccessReview) -> None:
    """Close the items without a decision.

    Stops after about MAX_WORK_TIME. The worker continues after it has done other work.
    """
    end = time.monotonic() + MAX_WORK_TIME
    organizations = review.sections.unanswered().exclude(organization_key=None)
    ordered = organizations.order_by("organization_key").values_list("pk", flat=True)
    while pks := list(ordered[:SECTIONS_BATCH]):
        close_sections(review, pks)
        if time.monotonic() > end:
            return
    for pk in review.sections.unanswered().values_list("pk", flat=True):
        close_other_paths(pk)


@transaction.atomic
def close_sections(review: AccessReview, pks: Sequence[int]) -> None:
    """Close the open items of some sections, up to ITEMS_BATCH of them.

    Ends the unconfirmed access if `review.ends_access` is set. Takes the locks in the
    usual order: people, organizations, sections, the review.
    """
    rows = ReviewItem.objects.filter(section__in=pks, decision=None).order_by("pk")
    found = rows.select_related("section")[:ITEMS_BATCH]
    items = {item.pk: item for item in found}
    if not items:
        # `open_items` was wrong. Without this correction, the caller would find these
        # sections again and again.
        empty = ReviewSection.objects.filter(pk__in=pks)
        empty.update(open_items=0, answered_at=Now())
        return
    keys = {item.user_key for item in items.values() if item.user_key is not None}
    lock(User, keys)
    keys = {item.section.organization_key or 0 for item in items.values()}
    # In organizations that were archived in the meantime, roles do not end. If they are
    # restored, people have their roles again.
    organizations = lock(Organization, keys, unarchived=True)
    sections = lock(ReviewSection, {item.section_id for item in items.values()})
    if not keep_review_open(review.pk):
        return
    # Query again, because someone may have decided about an item before the locks.
    open_items = ReviewItem.objects.filter(pk__in=items, decision=None)
    ordered = list(open_items.select_related("section").order_by("pk"))
    state = read_state(list(organizations.values()), ordered)
    decisions = decide_unconfirmed(review, state, ordered)
    create_decisions(ReviewDecision, decisions)
    store_open_counts(sections)
    changes = []
    for decision in decisions:
        if decision.answer == ReviewAnswer.EXPIRED:
            organization = organizations[decision.item.section.organization_key or 0]
            user = User(pk=decision.item.user_key)
            changes.append(RoleChange(user, organization, role=None))
    change_roles(changes, reason=NOT_CONFIRMED)


def store_open_counts(pks: Collection[int]) -> None:
    """Store how many items of these sections are still open.

    Sections without open items are stored as answered. The caller must have locked the
    rows of the sections.
    """
    items = ReviewItem.objects.filter(section=OuterRef("pk"), decision=None).order_by()
    counts = items.values("section").annotate(number=Count("pk")).values("number")
    sections = ReviewSection.objects.filter(pk__in=pks)
    sections.update(open_items=Coalesce(Subquery(counts), 0))
    sections.filter(open_items=0).update(answered_at=Now())


@dataclass(frozen=True)
class State:
    """What the outcome of items without a decision depends on."""

    # {(organization ID, user ID): current roles}
    access_by_member: Mapping[tuple[int, int], Sequence[Access]]
    # {organization ID: user IDs}
    active_admins: Mapping[int, Set[int]]
    unconfirmed_admins: Mapping[int, Set[int | None]]
    # {(section ID, user ID)} of people with another item that was confirmed
    people_with_confirmed_item: Collection[tuple[int, int | None]]

    def find_access(self, item: ReviewItem) -> Access | None:
        key = (item.section.organization_key or 0, item.user_key or 0)
        return choose_role(item, self.access_by_member.get(key, []))


def read_state(
    organizations: Sequence[Organization], items: Sequence[ReviewItem]
) -> State:
    """Load what `decide_unconfirmed()` needs. Runs four queries."""
    groups = {organization.pk: organization.admin_id for organization in organizations}
    members = find_active_members(list(groups.values()))
    return State(
        access_by_member=find_access_to_each(organizations, items),
        active_admins={pk: members[group_id] for pk, group_id in groups.items()},
        unconfirmed_admins=find_unconfirmed_admins(
            {item.section_id for item in items}, groups.values()
        ),
        people_with_confirmed_item=find_people_with_confirmed_item(items),
    )


def decide_unconfirmed(
    review: AccessReview, state: State, items: Sequence[ReviewItem]
) -> list[ReviewDecision]:
    """Return the final decisions about items that nobody has confirmed.

    Access only ends if `review.ends_access` is set. If an organization would be left
    without an active admin, all its admins keep their access, because nothing says
    which of them should stay. Platform staff can then decide.
    """
    decisions = []
    for item in items:
        pk = item.section.organization_key or 0
        admins = state.active_admins.get(pk, set())
        unconfirmed = state.unconfirmed_admins.get(pk, set())
        person = (item.section_id, item.user_key)
        is_confirmed = person in state.people_with_confirmed_item
        answer = ReviewAnswer.UNCONFIRMED
        if review.ends_access and not is_confirmed:
            is_kept = item.user_key in admins and admins <= unconfirmed
            answer = ReviewAnswer.KEPT if is_kept else ReviewAnswer.EXPIRED
        decisions.append(build_final_decision(item, state.find_access(item), answer))
    return decisions


def build_final_decision(
    item: ReviewItem, access: Access | None, answer: ReviewAnswer
) -> ReviewDecision:
    """Return the unsaved decision about an item at the end of the review."""
    if access is None:
        return ReviewDecision(item=item, answer=ReviewAnswer.LEFT)
    has_ended = answer == ReviewAnswer.EXPIRED
    return ReviewDecision(
        item=item,
        answer=answer,
        role_before=access.role.key,
        ends_at_before=access.ends_at,
        role="" if has_ended else access.role.key,
        ends_at=None if has_ended else access.ends_at,
    )


def find_unconfirmed_admins(
    section_pks: Collection[int], group_ids: Collection[int]
) -> dict[int, set[int | None]]:
    """Return {organization ID: IDs of admins whose access nobody has confirmed}.

    `decide_unconfirmed()` needs them to find out whether an organization would be left
    without an active admin. The items of an organization can be in several batches.
    Therefore, the result includes admins with open items in other batches, and admins
    whose access an earlier batch has kept (`ReviewAnswer.KEPT`).
    """
    confirmed = ReviewItem.objects.confirmed().filter(
        section=OuterRef("section"), user_key=OuterRef("user_key")
    )
    items = ReviewItem.objects.filter(
        Q(decision=None) | Q(decision__answer=ReviewAnswer.KEPT),
        ~Exists(confirmed),
        section__in=section_pks,
        user_key__in=Membership.objects.users_in(group_ids),
    )
    found: dict[int, set[int | None]] = defaultdict(set)
    for pk, user_key in items.values_list("section__organization_key", "user_key"):
        found[pk or 0].add(user_key)
    return found


def find_people_with_confirmed_item(
    items: Collection[ReviewItem],
) -> set[tuple[int, int | None]]:
    """Return {(section ID, user ID)} of the items' people who have a confirmed item.

    Someone who has several roles in an organization has an item for each.
    """
    confirmed = ReviewItem.objects.confirmed().filter(
        section__in={item.section_id for item in items},
        user_key__in={item.user_key for item in items},
    )
    return set(confirmed.values_list("section", "user_key"))


@transaction.atomic
def close_other_paths(pk: int) -> None:
    """Close the open items of the platform staff's section, without ending access."""
    section = lock(ReviewSection, [pk])[pk]
    if not keep_review_open(section.review_id):
        return
    items = list(section.items.filter(decision=None).order_by("pk"))
    ended = find_ended_paths(items)
    decisions = []
    for item in items:
        is_gone = item.pk in ended
        answer = ReviewAnswer.LEFT if is_gone else ReviewAnswer.UNCONFIRMED
        role = "" if is_gone else item.role
        decisions.append(
            ReviewDecision(item=item, answer=answer, role_before=role, role=role)
        )
    add_decisions(section, decisions)
