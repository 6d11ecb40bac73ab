"""What the list of organizations shows of each, besides its fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache

from django.db import connection
from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.ends import not_ended
from orgadmin.access.sql import placeholders
from orgadmin.admin.organizations.filters import find_oldest_pending
from orgadmin.models import Organization
from orgadmin.models.organization import WANTED_FIELDS
from orgadmin.people.ends import FORESEEN

# How many admins a row names.
NAMED = 2

# The first admins of organizations who can sign in, how many invitations are pending,
# and -1 for groups of admins whose access all ends soon. One statement, because every
# page of the list runs it. Parameters: the IDs of the admin groups, NAMED, the IDs of
# the organizations, the oldest time at which pending invitations were sent, the IDs of
# the groups again, and a time that is soon.
PEOPLE = """
    SELECT group_id, 0 AS pending, first_name, last_name, username
    FROM (
        SELECT
            membership.group_id,
            member.first_name,
            member.last_name,
            member.username,
            ROW_NUMBER() OVER (
                PARTITION BY membership.group_id ORDER BY membership.id
            ) AS number
        FROM orgadmin_user_groups membership
        JOIN orgadmin_user member ON member.id = membership.user_id
        WHERE membership.group_id IN ({groups})
            AND member.is_active
            AND {not_ended}
    ) numbered
    WHERE number <= %s
    UNION ALL
    SELECT organization_id, COUNT(*), '', '', ''
    FROM orgadmin_invitation
    WHERE organization_id IN ({organizations}) AND sent_at > %s
    GROUP BY organization_id
    UNION ALL
    SELECT membership.group_id, -1, '', '', ''
    FROM orgadmin_user_groups membership
    JOIN orgadmin_user member ON member.id = membership.user_id
    WHERE membership.group_id IN ({groups})
        AND member.is_active
        AND {not_ended}
    GROUP BY membership.group_id
    HAVING COUNT(membership.ends_at) = COUNT(*) AND MAX(membership.ends_at) <= %s
"""


@dataclass
class People:
    """Some admins of an organization by name, and its pending invitations."""

    names: list[str] = field(default_factory=list)
    pending: int = 0
    ends_soon: bool = False  # whether the access of all admins does


def find_people(organizations: Collection[Organization]) -> dict[int, People]:
    """Return {organization ID: People}. Runs one query, or none without rows."""
    people: dict[int, People] = defaultdict(People)
    if not organizations:
        return people
    by_group = {row.admin_id: row.pk for row in organizations}
    pks = [row.pk for row in organizations]
    statement = PEOPLE.format(
        groups=placeholders(by_group),
        organizations=placeholders(pks),
        not_ended=not_ended(),
    )
    oldest = connection.ops.adapt_datetimefield_value(find_oldest_pending())
    soon = connection.ops.adapt_datetimefield_value(timezone.now() + FORESEEN)
    parameters = [*by_group, NAMED, *pks, oldest, *by_group, soon]
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        for key, pending, first_name, last_name, username in cursor.fetchall():
            if pending > 0:
                people[key].pending = pending
            elif pending < 0:
                people[by_group[key]].ends_soon = True
            else:
                name = f"{first_name} {last_name}".strip() or username
                people[by_group[key]].names.append(name)
    return people


def describe_admins(organization: Organization, people: People) -> str:
    """Return the names of the first admins, and how many others there are."""
    names = list(people.names)
    others = organization.active_admins - len(names)
    if others > 0:
        names.append(ngettext("%d more", "%d more", others) % others)
    return ", ".join(names)


def list_missing(organization: Organization) -> list[str]:
    """Return the names of the wanted fields that are empty.

    `lacks_address` is an annotation: the list does not load the address.
    """
    return [
        name
        for name in WANTED_FIELDS
        if (
            organization.lacks_address  # type: ignore[attr-defined]
            if name == "address"
            else not getattr(organization, name)
        )
    ]


@dataclass(frozen=True)
class State:
    """What the badges of a row depend on. None stands for what is not shown."""

    admins: int | None  # active ones, at most 2
    pending: int  # invitations
    missing: int | None  # wanted fields that are empty
    ends_soon: bool = False  # the access of all admins


def describe_state(organization: Organization, people: People | None) -> State:
    """Return the state of an organization; `people` is None if they are not shown."""
    missing = len(list_missing(organization))
    if people is None:
        return State(None, 0, missing)
    admins = min(organization.active_admins, 2)
    return State(admins, people.pending, missing, people.ends_soon)


@lru_cache(maxsize=1_000)
def render_badges(state: State, language: str) -> SafeString:
    """Return the badges for a state. Many rows of a list share theirs."""
    badges = []
    if state.admins == 0:
        badges.append(make_badge(_("No active admin"), "bad"))
    elif state.admins == 1:
        badges.append(make_badge(_("Only one admin"), "warn"))
    if state.ends_soon:
        badges.append(make_badge(_("Access of all admins ends soon"), "warn"))
    if state.missing:
        text = ngettext("%d missing", "%d missing", state.missing)
        badges.append(make_badge(text % state.missing, "warn"))
    elif state.missing is not None and not badges:
        badges.append(make_badge(_("Complete"), "good"))
    if state.pending:
        text = ngettext(
            "%d invitation pending", "%d invitations pending", state.pending
        )
        badges.append(make_badge(text % state.pending, ""))
    return mark_safe(" ".join(badges))


def make_badge(text: str, kind: str) -> str:
    """Return a badge; `kind` is a class of the style sheet."""
    return f'<span class="badge {kind}">{escape(text)}</span>'
