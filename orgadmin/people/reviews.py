"""Access reviews: starting them, and what people decide about each item.

A decision and the change of the role that it makes are one transaction. `membership`
makes the change, so the access rule, the guards and the membership log apply.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _, gettext_noop

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.groups import get_owner_relation
from orgadmin.access.roles import ROLES, Role
from orgadmin.access.rule import is_active_superuser
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AccessReview,
    Decided,
    LaterDecision,
    Membership,
    MembershipEvent,
    Organization,
    ReviewAnswer,
    ReviewDecision,
    ReviewItem,
    ReviewRhythm,
    ReviewScope,
    ReviewSection,
    User,
)
from orgadmin.models.guards import find_active_members, is_still_superuser
from orgadmin.people import outbox
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import find_day
from orgadmin.people.held_roles import map_owners
from orgadmin.people.membership import change_roles, lock, may_assign
from orgadmin.people.review_items import prepare_review
from orgadmin.people.review_locks import keep_answerable
from orgadmin.people.review_paths import can_end, end_path, find_ended_paths

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orgadmin.models.review_evidence import ReviewItemQuerySet

AnyDecision = TypeVar("AnyDecision", bound=Decided)

# The reason in the membership log if people give none.
DECIDED = gettext_noop("Decided in an access review.")

ADD_LIST = """
    INSERT INTO orgadmin_reviewsection
        (review_id, organization_key, organization_name, items_total, open_items)
    SELECT %s, organization.id, organization.name, 0, 0
    FROM orgadmin_organization organization
    WHERE organization.id IN ({organizations})
        AND organization.archived_at IS NULL
"""


class DueDateInThePast(Exception):
    """A review would be due today or earlier, so nobody could answer."""

    def __str__(self) -> str:
        return str(_("Choose a due date after today."))


class NothingToReview(Exception):
    """Nobody has a role in the organizations of a review that was to start."""

    def __str__(self) -> str:
        return str(_("Nobody has a role in these organizations, so nobody is asked."))


@dataclass(frozen=True)
class Access:
    """The role that someone has in an organization at the moment."""

    role: Role
    ends_at: datetime | None = None

    def __str__(self) -> str:
        """Return what a form sends back, to show which access the person has seen."""
        end = self.ends_at.isoformat() if self.ends_at else "-"
        return f"{self.role.key} {end}"


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


@transaction.atomic
def start_review(
    scope: ReviewScope,
    *,
    due_on: date,
    ends_access: bool = False,
    organizations: QuerySet[Organization] | None = None,
    scope_text: str = "",
    rhythm: ReviewRhythm | None = None,
    actor: User | None = None,
) -> AccessReview:
    """Start a review. A worker then finds out who has access, as of now.

    `organizations` are those of a list, or the one. `actor` is None for a schedule.
    Raises `DueDateInThePast`, `NothingToReview`, and `PermissionDenied` unless the
    actor is a superuser.
    """
    if actor is not None and not is_still_superuser(actor):
        raise PermissionDenied("Only superusers start access reviews.")
    now = read_clock()
    if due_on <= find_day(now):
        raise DueDateInThePast
    if not has_members(organizations):
        raise NothingToReview
    newest = MembershipEvent.objects.order_by("pk").last()
    review = AccessReview.objects.create(
        started_at=now,
        started_by_key=actor.pk if actor else None,
        started_by_name=str(actor) if actor else "",
        scope=scope,
        scope_text=scope_text[:500],
        due_on=due_on,
        ends_access=ends_access,
        rhythm=rhythm,
        log_position=newest.pk if newest else 0,
    )
    if organizations is not None:
        keys = organizations.order_by().values("pk")
        sql, parameters = keys.query.sql_with_params()
        statement = ADD_LIST.format(organizations=sql)
        with connection.cursor() as cursor:
            cursor.execute(statement, [review.pk, *parameters])
    details = {"review": review.pk, "scope": scope, "ends_access": ends_access}
    record(SecurityEvent.REVIEW_STARTED, actor=actor, details=details)
    task = prepare_review.using(priority=outbox.URGENT)
    outbox.enqueue(task, review=review.pk)
    return review


def has_members(organizations: QuerySet[Organization] | None) -> bool:
    """Return whether anyone has a role in one of these; None stands for all."""
    covered = list_covered(organizations)
    memberships = Membership.objects.current()
    for role in ROLES:
        path = f"group__{get_owner_relation(role)}__in"
        if memberships.filter(**{path: covered}).exists():
            return True
    return False


def list_covered(organizations: QuerySet[Organization] | None) -> QuerySet:
    """Return the keys of the organizations that a review is to cover, as a query."""
    if organizations is None:
        organizations = Organization.objects.all()
    return organizations.filter(archived_at=None).order_by().values("pk")


def find_overlapping(
    organizations: QuerySet[Organization] | None,
) -> QuerySet[AccessReview]:
    """Return the reviews that are not completed and cover one of these; None: all.

    A review of all organizations that is being prepared covers whichever there are.
    """
    sections = ReviewSection.objects.filter(
        review=OuterRef("pk"), organization_key__in=list_covered(organizations)
    )
    is_preparing = Q(scope=ReviewScope.ALL, prepared_at=None)
    return AccessReview.objects.open().filter(is_preparing | Exists(sections))


# Answers


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
    access_of = find_access(organization, items)
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    needs_other = has_other_admin(organization, actor)
    outcome = Outcome()
    changes = []
    for item in items:
        decision = wanted[item.pk]
        current = choose_access(item, access_of)
        if current is None:
            outcome.left.append(item)
            continue
        if not may_assign(permissions, current.role):
            raise PermissionDenied("You cannot review a role with more permissions.")
        if decision.seen is not None and decision.seen != str(current):
            outcome.changed_meanwhile.append(item)
            continue
        is_own = item.user_key == actor.pk
        if is_own and needs_other and decision.answer != ReviewAnswer.ENDED:
            outcome.own.append(item)
            continue
        made = make_decision(item, decision, current, actor, reason)
        outcome.decided.append(made)
        if decision.answer != ReviewAnswer.CONFIRMED:
            user = User(pk=item.user_key)
            change = RoleChange(user, organization, decision.role, end=decision.end)
            changes.append(change)
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


def find_access(
    organization: Organization, items: Iterable[ReviewItem]
) -> dict[int, list[Access]]:
    """Return {user ID: the roles that they have now} of the people of items."""
    access_of = find_access_to_each([organization], items)
    return {user: roles for (_pk, user), roles in access_of.items()}


def find_access_to_each(
    organizations: Collection[Organization], items: Iterable[ReviewItem]
) -> dict[tuple[int, int], list[Access]]:
    """Return {(organization ID, user ID): the roles that they have now}. One query."""
    owners = map_owners(organizations)
    memberships = Membership.objects.current().filter(
        user__in={item.user_key for item in items}, group__in=owners
    )
    access_of: dict[tuple[int, int], list[Access]] = defaultdict(list)
    for membership in memberships:
        owner = owners[membership.group_id]
        access = Access(owner.role, membership.ends_at)
        access_of[owner.organization.pk, membership.user_id].append(access)
    return access_of


def choose_access(
    item: ReviewItem, access_of: Mapping[int, list[Access]]
) -> Access | None:
    """Return the access that an item is about now: another role may have replaced it.

    None means that the person has none any more.
    """
    return choose_role(item, access_of.get(item.user_key or 0, []))


def choose_role(item: ReviewItem, roles: Sequence[Access]) -> Access | None:
    for access in roles:
        if access.role.key == item.role:
            return access
    return roles[0] if roles else None


def has_other_admin(organization: Organization, user: User) -> bool:
    """Return whether an active admin except the user can review the organization."""
    admins = find_active_members([organization.admin_id])[organization.admin_id]
    return bool(admins - {user.pk})


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


# Access that is not by a role


def confirm_other_paths(
    section: ReviewSection, keys: Collection[int], *, actor: User
) -> Outcome:
    """Confirm items of platform staff that are open, as `decide_other_paths()` does."""
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
    """Confirm or end access without a role: of superusers, permissions, and groups.

    Superusers confirm themselves only if there is no other one, and never end their own
    access. Items about which someone else has decided since are left out.

    Raises `PermissionDenied`, `ReviewIsComplete`, and `LastSuperuserError`.
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
    """Lock what decisions of platform staff depend on. Returns the actor and items."""
    chosen = ReviewItem.objects.filter(section=section, pk__in=wanted)
    stored = lock_people(chosen, actor)
    if not is_active_superuser(stored):
        raise PermissionDenied("Only superusers decide about access without a role.")
    lock(ReviewSection, [section.pk])
    return stored, list_unchanged(section, chosen, wanted)


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


def decide_path(
    item: ReviewItem, decision: Decision, actor: User, reason: str
) -> Decided:
    """Carry out a decision about access without a role, and return it."""
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


def make_row(number: int, **values: Any) -> Decided:
    """Return a decision. `number` is how many there were about the item before."""
    if number:
        return LaterDecision(number=number, **values)
    return ReviewDecision(**values)
