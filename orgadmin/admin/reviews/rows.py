"""The rows of the page on which admins review access, and what it says afterwards."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.ends import show_end
from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.admin.quotes import list_quoted, quote
from orgadmin.models import (
    Decided,
    Organization,
    ReviewAnswer,
    ReviewItem,
    User,
)
from orgadmin.models.naming import is_misleading, mark_namesakes
from orgadmin.models.review_evidence import CONFIRMING
from orgadmin.people.membership import may_assign
from orgadmin.people.review_access import Access, choose_access, find_access
from orgadmin.people.review_decisions import Outcome
from orgadmin.records.event_actors import find_known_actors, find_names


@dataclass(frozen=True)
class ReviewRow:
    """An item as the page shows it. `access` is None if the person has none now.

    `person` is None if the page shows only what the item says about them.
    """

    item: ReviewItem
    person: User | None
    access: Access | None
    decision: Decided | None
    # How many decisions there are about the item. The last one counts.
    number: int
    needs_other: bool  # someone else must confirm it
    is_above: bool  # someone with more permissions must decide about it
    added_by: str
    decided_by: str

    @property
    def is_open(self) -> bool:
        """Whether it waits for a decision."""
        return self.decision is None and self.access is not None

    @property
    def can_decide(self) -> bool:
        """Whether the reader can decide, or replace what was decided."""
        return self.access is not None and not self.is_above

    @property
    def can_confirm(self) -> bool:
        is_confirmed = self.decision is not None and self.decision.answer in CONFIRMING
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
        """The label of the present role, or of the one at the start."""
        if self.access is not None:
            return self.access.role.label
        return ROLES_BY_KEY[self.item.role].label

    @property
    def last_day(self) -> str:
        """The last day of the access, or "" if it has no end."""
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
    """Return the rows of a page of items. Runs at most five queries.

    `admins` are the keys of the active admins of the organization, and `permissions`
    what the reader may do there. `is_open` says whether people can answer now.
    """
    items = list(items)
    access_of = find_access(organization, items)
    people = load_people(user, items, access_of)
    if not is_open:
        access_of = {}
    needs_other = bool(set(admins) - {user.pk})
    known = name_actors(user, organization, items)
    rows = []
    for item in items:
        access = choose_access(item, access_of)
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
                added_by=name_adder(item, known),
                decided_by=name_decider(decision, known),
            )
        )
    return rows


def load_people(
    user: User, items: Iterable[ReviewItem], with_access: Collection[int]
) -> dict[int, User]:
    """Return the people whom items are about and whom the reader may see, by key.

    `with_access` are the keys of those who have access now. Of people who have left,
    admins learn no more than what the review says.
    """
    keys = {item.user_key for item in items if item.user_key is not None}
    if not user.is_superuser:
        keys &= set(with_access)
    people = User.objects.in_bulk(keys)
    mark_namesakes(people.values())
    return people


def name_actors(
    user: User, organization: Organization, items: Iterable[ReviewItem]
) -> Collection[int | None] | None:
    """Write the present names of those who acted into the items and their decisions.

    Returns the keys of those whom the reader may know, or None if it is everyone.
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
    """Return the key of the only active admin if the person cannot remove them."""
    if user.is_superuser or len(admins) != 1:
        return None
    return next(iter(admins))


def name_adder(item: ReviewItem, known: Collection[int | None] | None) -> str:
    """Return who added a person. `known` are those whom the reader may know; or all."""
    if known is not None and item.added_by_key and item.added_by_key not in known:
        return _("Platform staff")
    return item.shown_added_by


def name_decider(decision: Decided | None, known: Collection[int | None] | None) -> str:
    if decision is None:
        return ""
    if known is not None and decision.actor_key and decision.actor_key not in known:
        return _("Platform staff")
    return decision.shown_actor


def describe_outcome(outcome: Outcome) -> list[tuple[int, str]]:
    """Return the messages about what became of decisions, with their levels."""
    return [*describe_decided(outcome.decided), *describe_undecided(outcome)]


def describe_decided(decided: Collection[Decided]) -> list[tuple[int, str]]:
    """Return the messages about the access of members that was decided about."""
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
    """Return the messages about access without a role."""
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
    """Return the messages about what could not be decided."""
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
