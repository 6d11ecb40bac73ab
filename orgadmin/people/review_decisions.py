"""What people decide about the members of an organization in an access review.

A decision and the change of the role that it makes are one transaction. `membership`
makes the change, so the access rule, the guards and the membership log apply.
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
from orgadmin.people.review_locks import keep_answerable

if TYPE_CHECKING:
    from orgadmin.models.review_evidence import ReviewItemQuerySet

AnyDecision = TypeVar("AnyDecision", bound=Decided)

# The reason in the membership log if people give none.
DECIDED = gettext_noop("Decided in an access review.")


@dataclass(frozen=True)
class Decision:
    """What someone wants to become of an item.

    `seen` is the access that the page showed, as text; with None, the person saw it in
    another way. `role` and `end` are the new ones if the answer is that the access
    changes. `number` is how many decisions about the item the person has seen, which
    this one replaces.
    """

    item: int
    answer: ReviewAnswer
    seen: str | None = None
    role: Role | None = None
    end: MembershipEnd | None = None
    number: int = 0


@dataclass
class Outcome:
    """What became of decisions. The lists have the items."""

    decided: list[Decided] = field(default_factory=list)
    # Their access was changed after the person had seen it.
    changed_meanwhile: list[ReviewItem] = field(default_factory=list)
    # Someone else must confirm these.
    own: list[ReviewItem] = field(default_factory=list)
    # They had lost the access already.
    left: list[ReviewItem] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        lists = (self.decided, self.changed_meanwhile, self.own, self.left)
        return not any(lists)


@dataclass(frozen=True)
class Circumstances:
    """What a decision about members of an organization depends on. It is locked."""

    actor: User
    organization: Organization
    permissions: Collection[str]  # of the actor
    access_of: Mapping[int, Sequence[Access]]  # {user ID: the roles that they have now}
    needs_other: bool  # another admin can confirm the actor's own access


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

    Decides about nothing that was changed since the person saw it, and nobody confirms
    their own access as long as there is another active admin who can. Items about which
    someone else has decided since are left out. `confirmed` is as in `change_roles()`.

    Raises `Organization.DoesNotExist`, `ReviewIsComplete`, `PermissionDenied`,
    `LastAdminError`, and `EndInThePast`.
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

    The order is that of `membership`: people, organizations, the section, and then the
    review. Returns the actor, the organization, and the items, without those about
    which someone else has decided since. `wanted` is {item ID: decision}.
    """
    chosen = ReviewItem.objects.filter(section=section, pk__in=wanted)
    stored = lock_people(chosen, actor)
    # The section of platform staff has none.
    pk = section.organization_key or 0
    organizations = lock(Organization, [pk])
    if not organizations:
        raise Organization.DoesNotExist(f"Organization {pk} does not exist.")
    lock(ReviewSection, [section.pk])
    return stored, organizations[pk], list_unchanged(section, chosen, wanted)


def lock_people(items: Iterable[ReviewItem], actor: User) -> User:
    """Lock the people of items who still have an account, and who decides about them.

    Returns the latter as stored, because they may have lost what let them decide since
    they were loaded. They cannot lose it any more until the transaction ends.
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
    """Return the items, without those about which someone else has decided since.

    The section is locked. Raises `ReviewIsComplete`.
    """
    keep_answerable(section.review_id)
    items = []
    for item in chosen.with_decisions().order_by("pk"):
        if wanted[item.pk].number == len(item.list_decisions()):
            items.append(item)
    return items


def read_circumstances(
    actor: User, organization: Organization, items: Iterable[ReviewItem]
) -> Circumstances:
    return Circumstances(
        actor=actor,
        organization=organization,
        permissions=Organization.objects.permissions_on(actor, organization.pk),
        access_of=find_access(organization, items),
        needs_other=has_other_admin(organization, actor),
    )


def has_other_admin(organization: Organization, user: User) -> bool:
    """Return whether an active admin except the user can review the organization."""
    admins = find_active_members([organization.admin_id])[organization.admin_id]
    return bool(admins - {user.pk})


def decide_item(
    item: ReviewItem,
    decision: Decision,
    circumstances: Circumstances,
    reason: str,
    outcome: Outcome,
) -> None:
    """Add an item to the list of the outcome to which it belongs.

    Raises `PermissionDenied` if the person may not decide about such a role.
    """
    actor = circumstances.actor
    current = choose_access(item, circumstances.access_of)
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
    outcome.decided.append(make_decision(item, decision, current, actor, reason))


def make_decision(
    item: ReviewItem, decision: Decision, current: Access, actor: User, reason: str
) -> Decided:
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
    """Return the changes of roles that decisions make.

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
    """Return a decision. `number` is how many there were about the item before."""
    if number:
        return LaterDecision(number=number, **values)
    return ReviewDecision(**values)


def close_as_left(section: ReviewSection, items: Iterable[ReviewItem]) -> None:
    """Close the open ones of items whose people had lost their access otherwise."""
    decisions = [
        ReviewDecision(item=item, answer=ReviewAnswer.LEFT)
        for item in items
        if not hasattr(item, "decision")
    ]
    add_decisions(section, decisions)


def add_decisions(section: ReviewSection, decisions: Sequence[Decided]) -> None:
    """Add decisions about items of a locked section."""
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
    """Add the rows of decisions that are made now."""
    if not decisions:
        return
    now = read_clock()
    for decision in decisions:
        decision.at = now
    model._default_manager.bulk_create(decisions)
