"""The people and organizations that are named on a command line."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.management.base import CommandError
from django.db.models import Q

from orgadmin.models import Organization, User
from orgadmin.models.validators import is_primary_key

# The exit status if it is not clear which person or organization is meant. `explain`
# needs it: there, 1 is an answer.
UNCLEAR = 2

MAX_LISTED = 100  # organizations of the same name


def find_user(username: str, returncode: int = UNCLEAR) -> User:
    """Return a user by username. Raises `CommandError` if there is none."""
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user “{username}”.", returncode=returncode)
    return user


def find_organization(text: str) -> Organization:
    """Return an organization by its id or exact name.

    Raises `CommandError` if there is none, or more than one.
    """
    condition = Q(name=text)
    if is_primary_key(text):
        condition |= Q(pk=text)
    organizations = Organization.objects.filter(condition)[:MAX_LISTED]
    if len(organizations) > 1:
        raise CommandError(describe_choice(organizations), returncode=UNCLEAR)
    if not organizations:
        raise CommandError(
            f"There is no organization with the id or name “{text}”.",
            returncode=UNCLEAR,
        )
    return organizations[0]


def describe_choice(organizations: Iterable[Organization]) -> str:
    lines = ["Several organizations match. Use the id of one of them:"]
    for organization in organizations:
        lines.append(
            f"  {organization.pk}  {organization.name}  {organization.address}"
        )
    return "\n".join(lines)
