"""Finds people of organizations, and who is called the same as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orgadmin.access.ends import not_ended
from orgadmin.access.sql import placeholders
from orgadmin.models import Organization, User
from orgadmin.models.naming import mark_namesakes

# What the name of a person is made of, and what decides who may read it.
NAMED_BY = ("username", "first_name", "last_name", "email", "is_staff", "is_superuser")

# The members of groups who are known, or who are called the same as one of these, in
# upper or lower case. Databases look at the names of the members, and not at those of
# all people. It is SQL because home pages ask it, and it takes the ORM longer to
# compile it than a database to execute it. Parameters: the IDs of the groups, and twice
# the IDs of the users.
MEMBERS = """
    SELECT membership.group_id, member.id, {columns}
    FROM orgadmin_user_groups membership
    JOIN orgadmin_user member ON member.id = membership.user_id
    WHERE membership.group_id IN ({groups})
        AND {not_ended}
        AND (
            member.id IN ({users})
            OR LOWER(TRIM(member.first_name || ' ' || member.last_name)) IN (
                SELECT LOWER(TRIM(known.first_name || ' ' || known.last_name))
                FROM orgadmin_user known
                WHERE known.id IN ({users})
                    AND TRIM(known.first_name || ' ' || known.last_name) <> ''
            )
        )
"""


def find_named_members(
    keys: Collection[int | None], organizations: Collection[Organization]
) -> dict[tuple[int, int], User]:
    """Return {(organization ID, user ID): user} of those who are members there now.

    Their labels say who is who if other members of the organizations are called the
    same. Runs one query, or none without keys.
    """
    known = {key for key in keys if key is not None}
    organization_of_group: dict[int, int] = {}
    for organization in organizations:
        for group_id in organization.group_ids:
            if group_id is not None:
                organization_of_group[group_id] = organization.pk
    if not known or not organization_of_group:
        return {}
    members = read_members(organization_of_group, known)
    mark_namesakes(members)
    return {
        (organization_of_group[user.group_id], user.pk): user
        for user in members
        if user.pk in known
    }


def read_members(group_ids: Collection[int], known: Collection[int]) -> list[Any]:
    """Return the members who are known, or called the same, each with a `group_id`."""
    statement = MEMBERS.format(
        columns=", ".join(f"member.{name}" for name in NAMED_BY),
        groups=placeholders(group_ids),
        users=placeholders(known),
        not_ended=not_ended(),
    )
    return list(User.objects.raw(statement, [*group_ids, *known, *known]))


def mark_namesakes_among_members(
    people: Collection[User], organizations: Collection[Organization]
) -> None:
    """Let the labels of members say who is who. Runs one query, or none."""
    named = [person for person in people if person.get_full_name()]
    found = find_named_members([person.pk for person in named], organizations)
    unclear = {user.pk for user in found.values() if user.has_namesake}
    for person in named:
        person.has_namesake = person.has_namesake or person.pk in unclear
