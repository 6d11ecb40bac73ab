"""Finds members of organizations, and other members with the same name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orgadmin.access.ends import not_ended
from orgadmin.access.sql import placeholders
from orgadmin.models import Organization, User
from orgadmin.models.naming import mark_namesakes

# The fields from which a person's label is made, and those that decide who can see it.
LABEL_FIELDS = (
    "username",
    "first_name",
    "last_name",
    "email",
    "is_staff",
    "is_superuser",
)

# The members of some groups who are among some users, or have the same full name as one
# of these users, ignoring case. The database compares only names of members, not of all
# people. It is SQL because home pages run it, and the ORM would take longer to compile
# it than a database takes to execute it. Parameters: group IDs, and user IDs twice.
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
    """Return {(organization ID, user ID): user} for users who are members there now.

    `keys` are the IDs of the users; None is ignored. If another member of these
    organizations has the same name, `has_namesake` is set, so that the user's label
    includes an address. Runs one query, or none if there are no IDs.
    """
    known = {key for key in keys if key is not None}
    organizations_by_group: dict[int, int] = {}
    for organization in organizations:
        for group_id in organization.group_ids:
            if group_id is not None:
                organizations_by_group[group_id] = organization.pk
    if not known or not organizations_by_group:
        return {}
    members = read_members(organizations_by_group, known)
    mark_namesakes(members)
    return {
        (organizations_by_group[user.group_id], user.pk): user
        for user in members
        if user.pk in known
    }


def read_members(group_ids: Collection[int], known: Collection[int]) -> list[Any]:
    """Return the members with these user IDs, and members with the same names.

    Each has the attribute `group_id`.
    """
    statement = MEMBERS.format(
        columns=", ".join(f"member.{name}" for name in LABEL_FIELDS),
        groups=placeholders(group_ids),
        users=placeholders(known),
        not_ended=not_ended(),
    )
    return list(User.objects.raw(statement, [*group_ids, *known, *known]))


def mark_namesakes_among_members(
    people: Collection[User], organizations: Collection[Organization]
) -> None:
    """Set `has_namesake` for people with the same name as another member.

    Only current members of these organizations are compared. Runs up to one query.
    """
    named = [person for person in people if person.get_full_name()]
    found = find_named_members([person.pk for person in named], organizations)
    unclear = {user.pk for user in found.values() if user.has_namesake}
    for person in named:
        person.has_namesake = person.has_namesake or person.pk in unclear
