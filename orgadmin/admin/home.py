"""The home page: cards of the person's organizations."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Window
from django.db.models.functions import RowNumber
from django.http import HttpRequest
from django.utils.functional import Promise

from orgadmin.access.roles import ROLES, Role
from orgadmin.access.rule import Sources
from orgadmin.gate.answers import get_gate
from orgadmin.models import Organization, User
from orgadmin.models.organization import WANTED_FIELDS

# How many organizations the home page shows as cards.
CARDS = 12

# How many people a card names in each role.
NAMED_PER_ROLE = 3


@dataclass(frozen=True)
class Card:
    """What the home page shows of one of a person's organizations.

    `role` is None if the person has access without a role. `people` are some of the
    other members, and `more` is the number of those not named. `missing` lists the
    labels of empty fields. All attributes from `people` on are None if the person does
    not have the permission to see them.
    """

    organization: Organization
    role: Role | None
    people: list[User] | None = None
    more: int | None = None
    changed_at: datetime.datetime | None = None
    missing: list[str | Promise] | None = None


@dataclass(frozen=True)
class Colleagues:
    """The other active members of an organization: some by name, the rest counted."""

    people: list[User]
    more: int


def list_cards(request: HttpRequest) -> list[Card]:
    """Return a card for each of the person's first organizations, CARDS at most.

    People who can view every organization get no cards. In addition to the queries of
    the gate, this runs four queries for any number of organizations.
    """
    user = request.user
    if get_gate(request).permits_everywhere("view"):
        return []
    organizations = list(Organization.objects.permitted(user)[:CARDS])
    pks = [organization.pk for organization in organizations]
    all_sources = Organization.objects.find_sources([user], pks)
    sources = {pk: all_sources[user.pk, pk] for pk in pks}
    # Access may have ended since the first query.
    visible = [row for row in organizations if "view" in sources[row.pk]]
    managed = [row for row in visible if "manage_members" in sources[row.pk]]
    last_changes = find_last_changes(pks)
    colleagues = find_colleagues(user, managed)
    return [
        make_card(
            organization,
            sources[organization.pk],
            colleagues.get(organization.pk),
            last_changes.get(organization.pk),
        )
        for organization in visible
    ]


def make_card(
    organization: Organization,
    sources: Sources,
    colleagues: Colleagues | None,
    last_change: datetime.datetime | None,
) -> Card:
    # The last change may be one of a confidential field. Then the date of the change is
    # confidential, too.
    changed_at = last_change if "view_confidential" in sources else None
    missing = find_missing_fields(organization) if "change" in sources else None
    return Card(
        organization=organization,
        role=find_role(organization, sources),
        people=colleagues.people if colleagues else None,
        more=colleagues.more if colleagues else None,
        changed_at=changed_at,
        missing=missing,
    )


def find_role(organization: Organization, sources: Sources) -> Role | None:
    """Return the role through which someone can view the organization, if any."""
    group_ids = {source.group_id for source in sources["view"]}
    for role in ROLES:
        if getattr(organization, role.attname) in group_ids:
            return role
    return None


def find_missing_fields(organization: Organization) -> list[str | Promise]:
    """Return the labels of the wanted fields that are empty."""
    return [
        Organization._meta.get_field(name).verbose_name
        for name in WANTED_FIELDS
        if not getattr(organization, name)
    ]


def find_last_changes(pks: Collection[int]) -> dict[int, datetime.datetime]:
    """Return {organization ID: when it was last changed}. Runs one query."""
    versions = Organization.history.filter(id__in=pks).order_by()
    last_changes = versions.values("id").annotate(changed_at=Max("history_date"))
    return dict(last_changes.values_list("id", "changed_at"))


def find_colleagues(
    user: User, organizations: Collection[Organization]
) -> dict[int, Colleagues]:
    """Return the colleagues of a user, as {organization ID: Colleagues}.

    Colleagues are the active members except the user. The first of them in each role
    are named, NAMED_PER_ROLE at most; `more` says how many there are besides them. Runs
    one query.
    """
    group_ids: list[int] = []
    for organization in organizations:
        group_ids += organization.group_ids
    memberships = find_first_memberships(user, group_ids)
    colleagues = {}
    for organization in organizations:
        people = []
        total = 0
        for group_id in organization.group_ids:
            if group_id in memberships:
                people += [membership.user for membership in memberships[group_id]]
                # Each of these memberships carries the number of all members of the
                # group, so any of them will do.
                total += memberships[group_id][0].total
        colleagues[organization.pk] = Colleagues(people, more=total - len(people))
    return colleagues


def find_first_memberships(
    user: User, group_ids: Collection[int]
) -> dict[int, list[Any]]:
    """Return {group ID: the first memberships in the group}, NAMED_PER_ROLE at most.

    Leaves out the user and inactive people. `total`, an attribute of each membership,
    is the number of memberships in the group. Runs one query.
    """
    memberships = User.groups.through.objects.filter(
        group__in=group_ids, user__is_active=True
    ).exclude(user=user.pk)
    numbered = memberships.annotate(
        number=Window(RowNumber(), "group", order_by="pk"),
        total=Window(Count("pk"), "group"),
    )
    first = numbered.filter(number__lte=NAMED_PER_ROLE).select_related("user")
    memberships_of_group = defaultdict(list)
    for membership in first.order_by("group", "number"):
        memberships_of_group[membership.group_id].append(membership)
    return memberships_of_group
