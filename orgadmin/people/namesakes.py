"""Finds people of organizations, and who is called the same as they are."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from orgadmin.access.sql import placeholders
from orgadmin.models import Membership, Organization, User
from orgadmin.models.naming import mark_namesakes

# What the name of a person is made of, and what decides who may read it.
NAMED_BY = ("username", "first_name", "last_name", "email", "is_staff", "is_superuser")

# The condition that the user of a membership is called the same as one of some users,
# in upper or lower case. Databases look at the names of the members, and not at those
# of all people. It is SQL because home pages ask it, and it takes the ORM longer to
# compile it than a database to execute it. Parameters: the IDs of the users.
CALLED_THE_SAME = """
    LOWER(TRIM(orgadmin_user.first_name || ' ' || orgadmin_user.last_name)) IN (
        SELECT LOWER(TRIM(known.first_name || ' ' || known.last_name))
        FROM orgadmin_user known
        WHERE known.id IN ({users})
            AND TRIM(known.first_name || ' ' || known.last_name) <> ''
    )
"""


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
    statement = CALLED_THE_SAME.format(users=placeholders(known))
    is_called_the_same = RawSQL(statement, [*known], BooleanField())
    memberships = (
        Membership.objects.current()
        .filter(group__in=organization_of_group)
        .filter(Q(user__in=known) | Q(is_called_the_same))
    )
    fields = [f"user__{name}" for name in NAMED_BY]
    found = list(memberships.select_related("user").only("group", *fields))
    mark_namesakes([membership.user for membership in found])
    return {
        (organization_of_group[row.group_id], row.user_id): row.user
        for row in found
        if row.user_id in known
    }


def mark_namesakes_among_members(
    people: Collection[User], organizations: Collection[Organization]
) -> None:
    """Let the labels of members say who is who. Runs one query, or none."""
    named = [person for person in people if person.get_full_name()]
    found = find_named_members([person.pk for person in named], organizations)
    unclear = {user.pk for user in found.values() if user.has_namesake}
    for person in named:
        person.has_namesake = person.has_namesake or person.pk in unclear
