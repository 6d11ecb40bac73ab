"""Finds people of organizations, and who is called the same as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import CharField, Q, QuerySet, Value
from django.db.models.functions import Concat, Lower, Trim

from orgadmin.models import Membership, Organization, User
from orgadmin.models.naming import mark_namesakes


def find_named_members(
    keys: Collection[int | None], organizations: Collection[Organization]
) -> dict[tuple[int, int], User]:
    """Return {(organization ID, user ID): user} of those who are members there now.

    Their labels say who is who if other members of the organizations are called the
    same. Runs one query, or none without keys.
    """
    known = set(keys) - {None}
    organization_of_group = {}
    for organization in organizations:
        for group_id in organization.group_ids:
            organization_of_group[group_id] = organization.pk
    if not known or not organization_of_group:
        return {}
    names = fold_names(User.objects.filter(pk__in=known)).exclude(folded="")
    called_the_same = fold_names(User.objects.all()).filter(
        folded__in=names.values("folded")
    )
    memberships = (
        Membership.objects.current()
        .filter(group__in=organization_of_group)
        .filter(Q(user__in=known) | Q(user__in=called_the_same.values("pk")))
    )
    found = list(memberships.select_related("user"))
    mark_namesakes([membership.user for membership in found])
    return {
        (organization_of_group[row.group_id], row.user_id): row.user
        for row in found
        if row.user_id in known
    }


def fold_names(users: QuerySet[User]) -> QuerySet[Any]:
    """Return the users with their full names, as `folded`, without upper case."""
    name = Concat("first_name", Value(" "), "last_name", output_field=CharField())
    return users.order_by().annotate(folded=Lower(Trim(name)))


def mark_namesakes_among_members(
    people: Collection[User], organizations: Collection[Organization]
) -> None:
    """Let the labels of members say who is who. Runs one query, or none."""
    named = [person for person in people if person.get_full_name()]
    found = find_named_members([person.pk for person in named], organizations)
    unclear = {user.pk for user in found.values() if user.has_namesake}
    for person in named:
        person.has_namesake = person.has_namesake or person.pk in unclear
