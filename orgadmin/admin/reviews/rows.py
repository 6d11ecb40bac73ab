"""The rows and messages of the page on which admins review access."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.ends import show_end
from orgadmin.access.roles import get_role
from orgadmin.admin.quotes import list_quoted, quote
from orgadmin.models import (
    Decided,
    Organization,
    ReviewAnswer,
    ReviewItem,
    User,
)
from orgadmin.models.naming import is_misleading, mark_namesakes
from orgadmin.models.review_evidence import CONFIRMING_ANSWERS
from orgadmin.people.membership import may_assign
from orgadmin.people.review_access import Access, choose_access, find_access
from orgadmin.people.review_decisions import Outcome
from orgadmin.records.event_actors import find_known_actors, find_names


@dataclass(frozen=True)
class ReviewRow:
    """An item of a review, as the page shows it.

    `access` is the person's current access. It is None if they no longer have any, or
    if the review can no longer be answered. `person` is None if the reader can see only
    what the item stores about the person, or if the account no longer exists.
    """

    item: ReviewItem
    person: User | None
    access: Access | None
    decision: Decided | None  # the last decision, which counts
    number: int  # number of decisions about the item
    needs_other: bool  # someone else must confirm it
    is_above: bool  # someone with more permissions must decide about it
    added_by: str
    decided_by: str

    @property
    def is_open(self) -> bool:
        """Whether the item waits for a decision."""
        return self.decision is None and self.access is not None

    @property
    def can_decide(self) -> bool:
        """Whether the reader can decide about the item, or change the decision."""
        return self.access is not None and not self.is_above

    @property
    def can_confirm(self) -> bool:
        is_confirmed = (
            self.decision is not None and self.decision.answer in CONFIRMING_ANSWERS
        )
        return self.can_decide and not self.needs_other and not is_confirmed

    @property
    def name(self) -> str:
        if self.person is not None:
            return self.person.label_without_email
        if is_misleading(self.item.full_name):
            return f"{self.item.full_name} ({self.item.user_name})"
        return self.item.full_name or self.item.user_name

    @property
    def username(self) -> str:
        return self.person.username if self.person else self.item.user_name

    @property
    def role(self) -> Any:
        """The label of the current role, or of the role when the review started."""
        if self.access is not None:
            return self.access.role.label
        return get_role(self.item.role).label

    @property
    def last_day(self) -> str:
        """The last day of the access, or "" if the access does not end."""
        ends_at = self.item.ends_at
        if self.access is not None:
            ends_at = self.access.ends_at
        return show_end(ends_at) if ends_at is not None else ""

    @property
    def last_sign_in(self) -> datetime.datetime | None:
        if self.person is not None:
            return self.person.last_login
        return self.item.last_sign_in


def make_rows(
    user: User,
    organization: Organization,
    items: Iterable[ReviewItem],
    admins: Collection[int],
    *,
    permissions: Collection[str],
    is_open: bool,
) -> list[ReviewRow]:
    """Return the rows for a page of items. Runs up to five queries.

    `admins` contains the IDs of the active admins of the organization. `permissions`
    are the permissions of the reader on the organization. `is_open` is True if people
    can still answer.
    """
    items = list(items)
    access_by_user_pk = find_access(organization, items)
    people = load_people(user, items, access_by_user_pk)
    if not is_open:
        access_by_user_pk = {}
    needs_other = bool(set(admins) - {user.pk})
    visible_keys = set_actor_names(user, organization, items)
    rows = []
    for item in items:
        access = choose_access(item, access_by_user_pk)
        is_above = access is not None and not may_assign(permissions, access.role)
        decision = item.last_decision
        rows.append(
            ReviewRow(
                item=item,
                person=people.get(item.user_key or 0),
                access=access,
                decision=decision,
                number=len(item.list_decisions()),
                needs_other=needs_other and item.user_key == user.pk,
                is_above=is_above,
                added_by=name_adder(item, visible_keys),
                decided_by=name_decider(decision, visible_keys),
            )
        )
    return rows


def load_people(
    user: User, items: Iterable[ReviewItem], with_access: Collection[int]
) -> dict[int, User]:
    """Return the people in the items whom the reader can see, as {user ID: user}.

    `with_access` contains the IDs of the people who have access now. About people who
    have left, admins see only what is stored in the review.
    """
    keys = {item.user_key for item in items if item.user_key is not None}
    if not user.is_superuser:
        keys &= set(with_access)
    people = User.objects.in_bulk(keys)
    mark_namesakes(people.values())
    return people


def set_actor_names(
    user: User, organization: Organization, items: Iterable[ReviewItem]
) -> Collection[int | None] | None:
    """Set the current names of the people who added or decided each item.

    If the reader cannot see a current name, the stored name remains.

    Returns the IDs of the people whose names the reader can see, or None for all of
    them.
    """
    decisions = [item.last_decision for item in items if item.last_decision is not None]
    actors = {item.added_by_key for item in items}
    actors |= {decision.actor_key for decision in decisions}
    names = find_names(actors, organization, user)
    for item in items:
        item.added_by_name = names.get(item.added_by_key, item.added_by_name)
    for decision in decisions:
        decision.actor_name = names.get(decision.actor_key, decision.actor_name)
    return None if user.is_superuser else find_known_actors(actors, organization)


def find_last_admin(user: User, admins: Collection[int]) -> int | None:
    """Return the ID of the only active admin, or None if there are none or several.

    `admins` contains the IDs of the active admins. Also returns None for superusers,
    who can remove the only admin.
    """
    if user.is_superuser or len(admins) != 1:
        return None
    return next(iter(admins))


def name_adder(item: ReviewItem, visible_keys: Collection[int | None] | None) -> str:
    """Return who gave the person of an item their access.

    The answer is "Platform staff" if the reader cannot see the name. `visible_keys` are
    the IDs of the people whose names the reader can see, or None for all of them.
    """
    if is_hidden(item.added_by_key, visible_keys):
        return _("Platform staff")
    return item.shown_added_by


def name_decider(
    decision: Decided | None, visible_keys: Collection[int | None] | None
) -> str:
    """Return who made a decision, or "" if nobody has made one.

    The answer is "Platform staff" if the reader cannot see the name. `visible_keys` are
    the IDs of the people whose names the reader can see, or None for all of them.
    """
    if decision is None:
        return ""
    if is_hidden(decision.actor_key, visible_keys):
        return _("Platform staff")
    return decision.shown_actor


def is_hidden(key: int | None, visible_keys: Collection[int | None] | None) -> bool:
    """Return whether the reader cannot see the name of the person with this key."""
    return visible_keys is not None and bool(key) and key not in visible_keys


def describe_outcome(outcome: Outcome) -> list[tuple[int, str]]:
    """Return the messages about the result of decisions, as (level, text)."""
    return [*describe_decided(outcome.decided), *describe_undecided(outcome)]


def describe_decided(decided: Collection[Decided]) -> list[tuple[int, str]]:
    """Return the messages about decisions on the access of members."""
    lines = []
    number = sum(row.answer == ReviewAnswer.CONFIRMED for row in decided)
    if number:
        text = ngettext(
            "The access of %d person is confirmed.",
            "The access of %d people is confirmed.",
            number,
        )
        lines.append((messages.SUCCESS, text % number))
    for row in decided:
        if row.answer == ReviewAnswer.ENDED:
            text = _("The access of %s has ended.") % quote(row.item)
            lines.append((messages.SUCCESS, text))
        elif row.answer == ReviewAnswer.CHANGED:
            text = _("The access of %s was changed.") % quote(row.item)
            lines.append((messages.SUCCESS, text))
    return lines


def describe_paths(outcome: Outcome) -> list[tuple[int, str]]:
    """Return the messages about decisions on access that people have without a role."""
    lines = []
    ended = [row for row in outcome.decided if row.answer == ReviewAnswer.ENDED]
    number = len(outcome.decided) - len(ended)
    if number:
        text = ngettext("%d entry is confirmed.", "%d entries are confirmed.", number)
        lines.append((messages.SUCCESS, text % number))
    for row in ended:
        text = _("The access of %s has ended.") % quote(row.item)
        lines.append((messages.SUCCESS, text))
    return [*lines, *describe_undecided(outcome)]


def describe_undecided(outcome: Outcome) -> list[tuple[int, str]]:
    """Return the messages about decisions that could not be saved."""
    lines = []
    if outcome.left:
        text = _("These people had already left: %s.")
        lines.append((messages.WARNING, text % list_quoted(outcome.left)))
    if outcome.changed_meanwhile:
        text = _(
            "Someone changed this while you were reading: %s. Read it, then decide."
        )
        lines.append((messages.WARNING, text % list_quoted(outcome.changed_meanwhile)))
    if outcome.own:
        text = _("Another admin must confirm your own access.")
        lines.append((messages.WARNING, text))
    return lines
