"""The home page: cards of the person's organizations, or what staff must look at."""

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
from orgadmin.access.roles import ROLES, Role
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

# How many organizations the home page shows as cards.
CARDS = 12

# What the page reads of organizations: for their cards, for their order, and for the
# links of activity.
CARD_FIELDS = (
    "name",
    "reference",
    "changed_at",
    *WANTED_FIELDS,
    *(role.key for role in ROLES),
    "sort_name",
    "archived_at",
)

# How many people a card names in each role.
NAMED_PER_ROLE = 3


# The first members of groups except one person, each with the number of members of the
# group. One statement, because it takes the ORM longer to compile it than a database to
# execute it. Parameters: the IDs of the groups, the ID of the person, NAMED_PER_ROLE.
FIRST_MEMBERS = """
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
    """What the home page shows of one of a person's organizations.

    `role` is None if the person has access without a role. `people` are some of the
    other members, and `more` is the number of those not named. `missing` lists the
    labels of empty fields. All attributes from `people` on are None or empty if the
    person does not have the permission to see them.
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
    """What waits for the answer of an organization's admins."""

    review: Waiting | None
    requests: OpenRequests | None


@dataclass(frozen=True)
class Colleagues:
    """The other active members of an organization: some by name, the rest counted."""

    people: list[User]
    more: int


@dataclass(frozen=True)
class Member:
    """A member of a group, and how many members the group has."""

    person: User
    total: int


@dataclass(frozen=True)
class Cards:
    """The cards of the page, and whether there are more organizations than that."""

    cards: list[Card]
    has_more: bool
    newest: Newest  # of the organizations that have cards


def describe_home(request: HttpRequest) -> dict[str, Any]:
    """Return what the template of the home page shows."""
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
    """Return a card for each of the person's first organizations, CARDS at most.

    In addition to the queries of the gate, this runs five queries at most for any
    number of organizations.
    """
    user = request.user
    rows = Organization.objects.permitted(user).only(*CARD_FIELDS)
    organizations = list(rows[: CARDS + 1])
    has_more = len(organizations) > CARDS
    del organizations[CARDS:]
    sources = get_gate(request).find_sources([row.pk for row in organizations])
    # Access may have ended since the first query.
    visible = [row for row in organizations if "view" in sources[row.pk]]
    managed = [row for row in visible if "manage_members" in sources[row.pk]]
    colleagues = find_colleagues(user, managed)
    managed_pks = [row.pk for row in managed]
    newest = find_newest([row.pk for row in visible], managed_pks)
    # Most organizations have neither, and then need no further queries.
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
    # The last change may be one of a confidential field. Then the date of the change is
    # confidential, too.
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
    """Return the role through which someone can view the organization, if any."""
    group_ids = {source.group_id for source in sources["view"]}
    for role in ROLES:
        if getattr(organization, role.attname) in group_ids:
            return role
    return None


def find_end(sources: Sources) -> PlannedEnd | None:
    """Return when someone can no longer view an organization, if that is planned."""
    ends = [source.ends_at for source in sources["view"]]
    latest = [ends_at for ends_at in ends if ends_at is not None]
    return PlannedEnd(max(latest)) if len(latest) == len(ends) else None


def find_labels() -> dict[str, str]:
    """Return {name: label} of the wanted fields, translated once for all cards."""
    return {
        name: str(Organization._meta.get_field(name).verbose_name)
        for name in WANTED_FIELDS
    }


def find_colleagues(
    user: User, organizations: Collection[Organization]
) -> dict[int, Colleagues]:
    """Return the colleagues of a user, as {organization ID: Colleagues}.

    Colleagues are the active members except the user. The first of them in each role
    are named, NAMED_PER_ROLE at most; `more` says how many there are besides them. Runs
    one query at most.
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
                # Each of these members carries the number of all members of the group,
                # so any of them will do.
                total += members[group_id][0].total
        colleagues[organization.pk] = Colleagues(people, more=total - len(people))
    return colleagues


def find_first_members(
    user: User, group_ids: Collection[int]
) -> dict[int, list[Member]]:
    """Return {group ID: the first members of the group}, NAMED_PER_ROLE at most.

    Leaves out the user and inactive people. Runs one query, or none without groups.
    """
    members: dict[int, list[Member]] = defaultdict(list)
    if not group_ids:
        return members
    statement = FIRST_MEMBERS.format(
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
