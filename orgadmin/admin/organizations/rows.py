"""What the list of organizations shows besides the fields: admins and status badges."""

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
from orgadmin.models import Organization
from orgadmin.models.invitation import find_oldest_pending
from orgadmin.models.organization import WANTED_FIELDS
from orgadmin.people.ends import FORESEEN

# The maximum number of admins that a row names.
ADMINS_NAMED = 2

# Returns three kinds of rows, told apart by the column "pending":
# - 0: the first active admins of an admin group, with their names
# - positive: the number of pending invitations of an organization
# - -1: an admin group in which the access of all active admins ends soon
# All of this is one statement, because every page of the list runs it. Parameters: the
# IDs of the admin groups, ADMINS_NAMED, the IDs of the organizations, the time after
# which pending invitations were sent, the current time, the IDs of the admin groups
# again, and the time before which an end counts as soon.
PEOPLE_SQL = """
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
    WHERE organization_id IN ({organizations})
        AND sent_at > %s
        AND (membership_ends_at IS NULL OR membership_ends_at > %s)
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
    """The admins and invitations of an organization, as the list shows them."""

    names: list[str] = field(default_factory=list)  # of the first active admins
    pending: int = 0  # number of pending invitations
    ends_soon: bool = False  # True if the access of all admins ends soon


def find_people(organizations: Collection[Organization]) -> dict[int, People]:
    """Return {organization ID: People}.

    Runs one query, or none if there are no organizations.
    """
    people: dict[int, People] = defaultdict(People)
    if not organizations:
        return people
    pks_by_group = {row.admin_id: row.pk for row in organizations}
    pks = [row.pk for row in organizations]
    statement = PEOPLE_SQL.format(
        groups=placeholders(pks_by_group),
        organizations=placeholders(pks),
        not_ended=not_ended(),
    )
    now = timezone.now()
    times = [find_oldest_pending(now), now, now + FORESEEN]
    oldest, current, soon = map(connection.ops.adapt_datetimefield_value, times)
    parameters = [*pks_by_group, ADMINS_NAMED, *pks, oldest, current]
    parameters += [*pks_by_group, soon]
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        for key, pending, first_name, last_name, username in cursor.fetchall():
            if pending > 0:
                people[key].pending = pending
            elif pending < 0:
                people[pks_by_group[key]].ends_soon = True
            else:
                name = f"{first_name} {last_name}".strip() or username
                people[pks_by_group[key]].names.append(name)
    return people


def describe_admins(organization: Organization, people: People) -> str:
    """Return the names of the first admins, and the number of further admins."""
    names = list(people.names)
    others = organization.active_admins - len(names)
    if others > 0:
        names.append(ngettext("%d more", "%d more", others) % others)
    return ", ".join(names)


def list_missing(organization: Organization) -> list[str]:
    """Return the names of the WANTED_FIELDS that are empty.

    The list does not load the address, but annotates `lacks_address` instead.
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
    """The values that determine the badges of a row. None means not shown."""

    admins: int | None  # number of active admins, at most 2
    pending: int  # number of pending invitations
    missing: int | None  # number of WANTED_FIELDS that are empty
    ends_soon: bool = False  # True if the access of all admins ends soon


def describe_state(organization: Organization, people: People | None) -> State:
    """Return the state of an organization.

    `people` is None if the person is not allowed to see its admins.
    """
    missing = len(list_missing(organization))
    if people is None:
        return State(admins=None, pending=0, missing=missing)
    admins = min(organization.active_admins, 2)
    return State(admins, people.pending, missing, people.ends_soon)


@lru_cache(maxsize=1_000)
def render_badges(state: State, language: str) -> SafeString:
    """Return the badges for a state, cached because many rows have the same state.

    `language` is the active language, in which the badges are written. It is a
    parameter so that the cache has an entry for each language.
    """
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
    """Return the HTML of a badge. `kind` is a CSS class."""
    return f'<span class="badge {kind}">{escape(text)}</span>'
