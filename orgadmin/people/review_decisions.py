"""Decisions about the members of an organization in an access review.

A decision and the role change that it causes are made in one transaction.
`people/membership.py` changes the role, so the access rule, the guards and the
membership log apply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from orgadmin.access.roles import Role
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    Decided,
    LaterDecision,
    Organization,
    ReviewAnswer,
    ReviewDecision,
    ReviewItem,
    ReviewSection,
    User,
)
from orgadmin.models.guards import find_active_members
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles, lock, may_assign
from orgadmin.people.review_access import Access, choose_access, find_access
from orgadmin.people.review_locks import keep_review_answerable

if TYPE_CHECKING:
    from orgadmin.models.review_evidence import ReviewItemQuerySet

AnyDecision = TypeVar("AnyDecision", bound=Decided)

# The reason in the membership log if the person does not give one.
DECIDED = gettext_noop("Decided in an access review.")


@dataclass(frozen=True)
class Decision:
    """A person's decision about an item.

    `seen` is the access that the page showed, as text, or None if it need not be
    compared. `role` and `end` are the new role and end if the answer is that the access
    changes. `number` is how many earlier decisions about the item the person has seen;
    this decision replaces them.
    """

    item: int
    answer: ReviewAnswer
    seen: str | None = None
    role: Role | None = None
    end: MembershipEnd | None = None
    number: int = 0


@dataclass
class Outcome:
    """The results of decisions about several items."""

    decided: list[Decided] = field(default_factory=list)
    # Items whose access was changed after the person had seen it.
    changed_meanwhile: list[ReviewItem] = field(default_factory=list)
    # Items about the person's own access, which someone else must confirm.
    own: list[ReviewItem] = field(default_factory=list)
    # Items whose access had already ended. They are closed with the answer LEFT, if
    # they do not have a decision.
    left: list[ReviewItem] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        lists = (self.decided, self.changed_meanwhile, self.own, self.left)
        return not any(lists)


@dataclass(frozen=True)
class Circumstances:
    """What decisions about an organization's members depend on. The rows are locked."""

    actor: User
    organization: Organization
    permissions: Collection[str]  # of the actor
    access_by_user: Mapping[int, Sequence[Access]]  # {user ID: current roles}
    needs_other: bool  # whether another admin must confirm the actor's own access


@transaction.atomic
def decide(
    section: ReviewSection,
    decisions: Sequence[Decision],
    *,
    actor: User,
    reason: str = "",
    confirmed: Collection[int] = (),
) -> Outcome:
    """Decide about items of one organization, and change the roles accordingly.

    The following items do not get a decision:

    - items about which someone else has decided after the person had seen them;
    - items whose access has changed after the person had seen it;
    - the person's own access, unless they end it, or there is no other active admin.

    Items whose access has already ended are closed, whatever the decision says.
    `confirmed` is as in `change_roles()`. Raises `Organization.DoesNotExist`,
    `ReviewIsComplete`, `PermissionDenied`, `LastAdminError`, and `EndInThePast`.
    """
    wanted = {decision.item: decision for decision in decisions}
    actor, organization, items = lock_items(section, wanted, actor)
    circumstances = read_circumstances(actor, organization, items)
    outcome = Outcome()
    for item in items:
        decide_item(item, wanted[item.pk], circumstances, reason, outcome)
    changes = list_changes(organization, wanted, outcome.decided)
    change_roles(changes, actor=actor, reason=reason or DECIDED, confirmed=confirmed)
    close_as_left(section, outcome.left)
    add_decisions(section, outcome.decided)
    return outcome


def lock_items(
    section: ReviewSection, wanted: Mapping[int, Decision], actor: User
) -> tuple[User, Organization, list[ReviewItem]]:
    """Lock everything that decisions about items depend on, and return it as stored.

    Takes the locks in the usual order: people, organizations, the section, and then the
    review. `wanted` is {item ID: decision}. Returns the actor, the organization, and
    the items, without those about which someone else has decided after the person had
    seen them. Raises `Organization.DoesNotExist`, `PermissionDenied` if the actor was
    deleted, and `ReviewIsComplete`.
    """
    chosen = ReviewItem.objects.filter(section=section, pk__in=wanted)
    stored = lock_people(chosen, actor)
    # The section of platform staff has no organization.
    pk = section.organization_key or 0
    organizations = lock(Organization, [pk])
    if not organizations:
        raise Organization.DoesNotExist(f"Organization {pk} does not exist.")
    lock(ReviewSection, [section.pk])
    return stored, organizations[pk], list_unchanged(section, chosen, wanted)


def lock_people(items: Iterable[ReviewItem], actor: User) -> User:
    """Lock the people of these items and the actor, and return the actor as stored.

    The actor may have lost permissions after the instance was loaded. They cannot lose
    more permissions until this transaction ends. Raises `PermissionDenied` if the
    actor was deleted.
    """
    keys = {item.user_key for item in items if item.user_key is not None}
    people = lock(User, keys | {actor.pk})
    if actor.pk not in people:
        raise PermissionDenied("The person who decides does not exist.")
    return people[actor.pk]


def list_unchanged(
    section: ReviewSection,
    chosen: ReviewItemQuerySet,
    wanted: Mapping[int, Decision],
) -> list[ReviewItem]:
    """Return the items about which nobody has decided after the person had seen them.

    The section must be locked. Raises `ReviewIsComplete`.
    """
    keep_review_answerable(section.review_id)
    items = []
    for item in chosen.with_decisions().order_by("pk"):
        if wanted[item.pk].number == len(item.list_decisions()):
            items.append(item)
    return items


def read_circumstances(
    actor: User, organization: Organization, items: Iterable[ReviewItem]
) -> Circumstances:
    """Load what decisions about these items depend on, after everything was locked."""
    return Circumstances(
        actor=actor,
        organization=organization,
        permissions=Organization.objects.permissions_on(actor, organization.pk),
        access_by_user=find_access(organization, items),
        needs_other=has_other_admin(organization, actor),
    )


def has_other_admin(organization: Organization, user: User) -> bool:
    """Return whether an organization has an active admin other than the user."""
    admins = find_active_members([organization.admin_id])[organization.admin_id]
    return bool(admins - {user.pk})


def decide_item(
    item: ReviewItem,
    decision: Decision,
    circumstances: Circumstances,
    reason: str,
    outcome: Outcome,
) -> None:
    """Decide about an item, and add it to the right list of the outcome.

    Raises `PermissionDenied` if the actor may not assign the role that the item's
    person has now.
    """
    actor = circumstances.actor
    current = choose_access(item, circumstances.access_by_user)
    if current is None:
        outcome.left.append(item)
        return
    if not may_assign(circumstances.permissions, current.role):
        raise PermissionDenied("You cannot review a role with more permissions.")
    if decision.seen is not None and decision.seen != str(current):
        outcome.changed_meanwhile.append(item)
        return
    is_own = item.user_key == actor.pk
    is_ending = decision.answer == ReviewAnswer.ENDED
    if is_own and circumstances.needs_other and not is_ending:
        outcome.own.append(item)
        return
    outcome.decided.append(build_decision(item, decision, current, actor, reason))


def build_decision(
    item: ReviewItem, decision: Decision, current: Access, actor: User, reason: str
) -> Decided:
    """Return the unsaved row of a decision. `current` is the access before it."""
    is_confirmed = decision.answer == ReviewAnswer.CONFIRMED
    role = current.role if is_confirmed else decision.role
    ends_at = decision.end.at if decision.end is not None else current.ends_at
    if role is None:
        ends_at = None
    return make_row(
        decision.number,
        item=item,
        answer=decision.answer,
        actor_key=actor.pk,
        actor_name=str(actor),
        role_before=current.role.key,
        ends_at_before=current.ends_at,
        role=role.key if role is not None else "",
        ends_at=ends_at,
        reason=reason,
    )


def list_changes(
    organization: Organization,
    wanted: Mapping[int, Decision],
    decided: Iterable[Decided],
) -> list[RoleChange]:
    """Return the role changes that result from the decisions.

    `wanted` is {item ID: decision}.
    """
    changes = []
    for row in decided:
        if row.answer == ReviewAnswer.CONFIRMED:
            continue
        decision = wanted[row.item.pk]
        user = User(pk=row.item.user_key)
        changes.append(RoleChange(user, organization, decision.role, end=decision.end))
    return changes


# The rows of decisions


def make_row(number: int, **values: Any) -> Decided:
    """Return an unsaved decision. `number` is the number of earlier decisions."""
    if number:
        return LaterDecision(number=number, **values)
    return ReviewDecision(**values)


def close_as_left(section: ReviewSection, items: Iterable[ReviewItem]) -> None:
    """Close the open ones among items whose access ended in another way."""
    decisions = [
        ReviewDecision(item=item, answer=ReviewAnswer.LEFT)
        for item in items
        if not hasattr(item, "decision")
    ]
    add_decisions(section, decisions)


def add_decisions(section: ReviewSection, decisions: Sequence[Decided]) -> None:
    """Save decisions about items of a locked section, and update its counts."""
    first = [row for row in decisions if isinstance(row, ReviewDecision)]
    later = [row for row in decisions if isinstance(row, LaterDecision)]
    create_decisions(ReviewDecision, first)
    create_decisions(LaterDecision, later)
    if first:
        sections = ReviewSection.objects.filter(pk=section.pk)
        sections.update(open_items=F("open_items") - len(first))
        sections.filter(open_items=0).update(answered_at=Now())


def create_decisions(
    model: type[AnyDecision], decisions: Sequence[AnyDecision]
) -> None:
    """Save decisions with the database's current time."""
    if not decisions:
        return
    now = read_clock()
    for decision in decisions:
        decision.at = now
    model._default_manager.bulk_create(decisions)
