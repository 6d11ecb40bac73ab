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
    # Compares the names of members, and does not look for the names among all people.
    members = Membership.objects.current().filter(group__in=organization_of_group)
    memberships = members.alias(folded=fold_name("user__")).filter(
        Q(user__in=known) | Q(folded__in=names.values("folded"))
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
    return users.order_by().annotate(folded=fold_name())


def fold_name(path: str = "") -> Lower:
    """Return the full name of a user without upper case. `path` leads to the user."""
    first_name = f"{path}first_name"
    last_name = f"{path}last_name"
    name = Concat(first_name, Value(" "), last_name, output_field=CharField())
    return Lower(Trim(name))


def mark_namesakes_among_members(
    people: Collection[User], organizations: Collection[Organization]
) -> None:
    """Let the labels of members say who is who. Runs one query, or none."""
    named = [person for person in people if person.get_full_name()]
    found = find_named_members([person.pk for person in named], organizations)
    unclear = {user.pk for user in found.values() if user.has_namesake}
    for person in named:
        person.has_namesake = person.has_namesake or person.pk in unclear
