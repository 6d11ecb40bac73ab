"""The home page.

It shows cards of the person's organizations. For people who can view all organizations
or none, it does not show cards. Depending on their permissions, they see what needs
attention, and charts. Everyone sees recent activity.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db import connection
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext as _

from orgadmin.access.ends import not_ended
from orgadmin.access.roles import ROLES, Role, find_strongest
from orgadmin.access.rule import Sources
from orgadmin.access.sql import placeholders
from orgadmin.admin.home.attention import list_concerns
from orgadmin.admin.home.feed_items import list_recent_activity
from orgadmin.admin.home.growth import find_growth
from orgadmin.admin.lists.rows import show_day
from orgadmin.admin.reviews.notices import (
    OpenRequests,
    Waiting,
    find_open_requests,
    find_waiting,
)
from orgadmin.admin.unsent_mail import find_trouble
from orgadmin.gate.answers import get_gate
from orgadmin.models import Organization, User
from orgadmin.models.organization import WANTED_FIELDS
from orgadmin.people.ends import PlannedEnd
from orgadmin.records.feed.newest import Newest, find_newest

# The maximum number of organizations that the home page shows as cards.
MAX_CARDS = 12

# The fields of organizations that the page loads: for the cards, to sort them, and for
# the links in recent activity.
CARD_FIELDS = (
    "name",
    "reference",
    "changed_at",
    *WANTED_FIELDS,
    *(role.key for role in ROLES),
    "sort_name",
    "archived_at",
)

# The maximum number of people in each role that a card names.
NAMED_PER_ROLE = 3


# Returns the first active members of groups, except one person, each with the number of
# all active members of the group except this person. This is raw SQL, because the ORM
# would take longer to compile the query than a database takes to run it. Parameters:
# the IDs of the groups, the ID of the person, NAMED_PER_ROLE.
FIRST_MEMBERS_SQL = """
    SELECT group_id, total, user_id, username, first_name, last_name
    FROM (
        SELECT
            membership.group_id,
            membership.user_id,
            member.username,
            member.first_name,
            member.last_name,
            COUNT(*) OVER (PARTITION BY membership.group_id) AS total,
            ROW_NUMBER() OVER (
                PARTITION BY membership.group_id ORDER BY membership.id
            ) AS number
        FROM orgadmin_user_groups membership
        JOIN orgadmin_user member ON member.id = membership.user_id
        WHERE membership.group_id IN ({groups})
            AND member.is_active
            AND {not_ended}
            AND member.id <> %s
    ) numbered
    WHERE number <= %s
    ORDER BY group_id, number
"""


@dataclass(frozen=True)
class Card:
    """What the home page shows about one of a person's organizations.

    `role` is None if the person has access without a role. `people` are some of the
    other members, and `more` is the number of further members. `missing` lists the
    labels of empty fields. The attributes after `role` are None or empty if there is
    nothing to show, or if the person does not have the permission to see them.
    """

    organization: Organization
    url: str
    role: Role | None
    people: list[User] | None = None
    more: int | None = None
    changed_at: datetime.datetime | None = None
    missing: list[str] | None = None
    edit_url: str = ""
    review: Waiting | None = None
    requests: OpenRequests | None = None
    end: PlannedEnd | None = None  # of the person's role

    @property
    def changed_on(self) -> str:
        return show_day(self.changed_at)

    @property
    def names(self) -> str:
        """The names of the people."""
        names = [[person.label_without_email] for person in self.people]
        return format_html_join(", ", "<bdi>{}</bdi>", names)

    @property
    def missing_fields(self) -> str:
        return ", ".join(self.missing)

    @property
    def edit_label(self) -> str:
        return _("Edit %(organization)s") % {"organization": self.organization}


@dataclass(frozen=True)
class Notices:
    """What waits for an answer from an organization's admins."""

    review: Waiting | None
    requests: OpenRequests | None


@dataclass(frozen=True)
class Colleagues:
    """The active members of an organization, except the person who views the page."""

    people: list[User]  # the first members in each role, who are named
    more: int  # the number of further members


@dataclass(frozen=True)
class Member:
    """A member of a group, and the number of active members, without the reader."""

    person: User
    total: int


@dataclass(frozen=True)
class Cards:
    """The cards of the page, and whether the person has more organizations."""

    cards: list[Card]
    has_more: bool
    newest: Newest  # when something last happened to the organizations with cards


def describe_home(request: HttpRequest) -> dict[str, Any]:
    """Return the template variables of the home page."""
    gate = get_gate(request)
    if gate.permits_everywhere("view") or not gate.has_any("view"):
        outbox = find_trouble(request)
        return {
            "title": _("Home"),
            "activity": list_recent_activity(request),
            "concerns": list_concerns(request, outbox),
            "growth": find_growth(request),
            "outbox": outbox,
        }
    cards = list_cards(request)
    own = None
    newest = None
    if not cards.has_more:
        own = {card.organization.pk: card.organization for card in cards.cards}
        newest = cards.newest
    return {
        "title": _("Your organizations"),
        "cards": cards.cards,
        "has_more": cards.has_more,
        "activity": list_recent_activity(request, own, newest),
    }


def list_cards(request: HttpRequest) -> Cards:
    """Return cards for the person's first organizations, at most MAX_CARDS.

    In addition to the queries of the gate, runs up to five queries for any number of
    organizations.
    """
    user = request.user
    rows = Organization.objects.permitted(user).only(*CARD_FIELDS)
    organizations = list(rows[: MAX_CARDS + 1])
    has_more = len(organizations) > MAX_CARDS
    del organizations[MAX_CARDS:]
    sources = get_gate(request).find_sources([row.pk for row in organizations])
    # Access may have ended after the first query.
    visible = [row for row in organizations if "view" in sources[row.pk]]
    managed = [row for row in visible if "manage_members" in sources[row.pk]]
    colleagues = find_colleagues(user, managed)
    managed_pks = [row.pk for row in managed]
    newest = find_newest([row.pk for row in visible], managed_pks)
    # Most organizations have neither reviews nor requests, which saves these queries.
    reviews = find_waiting(managed_pks) if newest.reviews else {}
    requests = find_open_requests(managed_pks) if newest.requests else {}
    labels = find_labels()
    cards = [
        make_card(
            organization,
            sources[organization.pk],
            colleagues.get(organization.pk),
            labels,
            Notices(
                reviews.get(organization.pk),
                requests.get(organization.pk),
            ),
        )
        for organization in visible
    ]
    return Cards(cards, has_more, newest)


def make_card(
    organization: Organization,
    sources: Sources,
    colleagues: Colleagues | None,
    labels: Mapping[str, str],
    notices: Notices,
) -> Card:
    """Return the card of an organization, limited to what the person can see.

    `sources` contains the person's permissions on the organization.
    """
    # The last change may have been made to a confidential field. Its date is then
    # confidential as well.
    sees_all = "view_confidential" in sources
    model_admin = admin.site._registry[Organization]
    missing = None
    edit_url = ""
    if "change" in sources:
        names = organization.find_missing_fields(sees_confidential=sees_all)
        missing = [labels[name] for name in names]
        edit_url = model_admin.get_page_url("change", organization)
    return Card(
        organization=organization,
        url=model_admin.get_record_url(organization),
        role=find_role(organization, sources),
        people=colleagues.people if colleagues else None,
        more=colleagues.more if colleagues else None,
        changed_at=organization.changed_at if sees_all else None,
        missing=missing,
        edit_url=edit_url,
        review=notices.review,
        requests=notices.requests,
        end=find_end(sources),
    )


def find_role(organization: Organization, sources: Sources) -> Role | None:
    """Return the role that allows someone to view the organization, or None."""
    group_ids = {source.group_id for source in sources["view"]}
    roles = [role for role in ROLES if getattr(organization, role.attname) in group_ids]
    return find_strongest(roles)


def find_end(sources: Sources) -> PlannedEnd | None:
    """Return when someone's permission to view an organization ends.

    Returns None if it does not end, for example because they also have it personally.
    """
    ends = [source.ends_at for source in sources["view"]]
    latest = [ends_at for ends_at in ends if ends_at is not None]
    return PlannedEnd(max(latest)) if len(latest) == len(ends) else None


def find_labels() -> dict[str, str]:
    """Return {name: label} of the WANTED_FIELDS, translated once for all cards."""
    return {
        name: str(Organization._meta.get_field(name).verbose_name)
        for name in WANTED_FIELDS
    }


def find_colleagues(
    user: User, organizations: Collection[Organization]
) -> dict[int, Colleagues]:
    """Return the other active members of organizations.

    Returns {organization ID: Colleagues}, with at most NAMED_PER_ROLE people in each
    role. Runs one query, or none if there are no organizations.
    """
    group_ids: list[int] = []
    for organization in organizations:
        group_ids += organization.group_ids
    members = find_first_members(user, group_ids)
    colleagues = {}
    for organization in organizations:
        people = []
        total = 0
        for group_id in organization.group_ids:
            if group_id in members:
                people += [member.person for member in members[group_id]]
                # Each row contains the number of all members of the group.
                total += members[group_id][0].total
        colleagues[organization.pk] = Colleagues(people, more=total - len(people))
    return colleagues


def find_first_members(
    user: User, group_ids: Collection[int]
) -> dict[int, list[Member]]:
    """Return {group ID: the first members of the group}, at most NAMED_PER_ROLE each.

    Leaves out the user and inactive people. Runs one query, or none if `group_ids` is
    empty.
    """
    members: dict[int, list[Member]] = defaultdict(list)
    if not group_ids:
        return members
    statement = FIRST_MEMBERS_SQL.format(
        groups=placeholders(group_ids), not_ended=not_ended()
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*group_ids, user.pk, NAMED_PER_ROLE])
        for group_id, total, pk, username, first_name, last_name in cursor.fetchall():
            person = User(
                pk=pk, username=username, first_name=first_name, last_name=last_name
            )
            members[group_id].append(Member(person, total))
    return members
