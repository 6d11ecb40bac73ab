"""Finds the people whom someone names in order to add them to an organization."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q

from orgadmin.access.roles import ROLES
from orgadmin.models import Organization, User
from orgadmin.models.addresses import fold_email, normalize_email
from orgadmin.models.user_queryset import choose_by_username, has_username
from orgadmin.models.validators import is_primary_key

if TYPE_CHECKING:
    from django.db.models import QuerySet

SEPARATORS = re.compile(r"[,;\n\r]+")

# "#17" stands for the account with this ID.
KEY = re.compile(r"#(\d+)")


@dataclass
class NamedPeople:
    """Whom some names mean."""

    users: list[User] = field(default_factory=list)  # get a role
    emails: list[str] = field(default_factory=list)  # are invited
    unknown: list[str] = field(default_factory=list)  # mean nobody


def split_names(text: str) -> list[str]:
    """Return the names in a text, which are separated by commas or line breaks."""
    names = [name.strip() for name in SEPARATORS.split(text)]
    return list(dict.fromkeys(name for name in names if name))


def is_address(name: str) -> bool:
    """Return whether a name is an email address, and not a username.

    Usernames can contain an "@", too, but never count as an address: whoever creates an
    account could choose the address of someone else as its username.
    """
    return "@" in normalize_email(name)


def find_named(names: Sequence[str], *, actor: User) -> NamedPeople:
    """Return whom the names mean, as far as the actor may know.

    Superusers name everyone by username, by the ID of the account, or by an address
    that its owner has confirmed. Everyone else names people of the organizations that
    they manage, and only by username. An address is always invited then, so the result
    does not reveal who has an account. Addresses are in their normal form. Runs one
    query for usernames, and one for addresses.
    """
    found = NamedPeople()
    addresses = [
        fold_email(normalize_email(name)) for name in names if is_address(name)
    ]
    usernames = [name for name in names if not is_address(name)]
    owners = find_owners(addresses) if actor.is_superuser else {}
    for email in dict.fromkeys(addresses):
        if email in owners:
            found.users.append(owners[email])
        else:
            found.emails.append(email)
    candidates = find_candidates(usernames, actor=actor)
    for name in usernames:
        user = choose(candidates, name)
        if user is None:
            found.unknown.append(name)
        elif user not in found.users:
            found.users.append(user)
    return found


def find_owners(emails: Collection[str]) -> dict[str, User]:
    """Return {email address: user} of people who have confirmed the address."""
    if not emails:
        return {}
    users = User.objects.find_by_emails(emails)
    return {email: user for email, user in users.items() if user.has_verified_email}


def find_candidates(usernames: Collection[str], *, actor: User) -> list[User]:
    """Return the users whom the actor may mean by the usernames. Runs one query."""
    if not usernames:
        return []
    condition = Q()
    for name in usernames:
        condition |= has_username(name)
        key = read_key(name)
        if actor.is_superuser and key is not None:
            condition |= Q(pk=key)
    users = User.objects.all() if actor.is_superuser else find_known_people(actor)
    return list(users.filter(condition).order_by("pk"))


def choose(candidates: Collection[User], name: str) -> User | None:
    user = choose_by_username(candidates, name)
    key = read_key(name)
    if user is None and key is not None:
        return next((user for user in candidates if user.pk == key), None)
    return user


def read_key(name: str) -> int | None:
    match = KEY.fullmatch(name)
    if match is None or not is_primary_key(match[1]):
        return None
    return int(match[1])


def find_known_people(actor: User) -> QuerySet[User]:
    """Return the members of the organizations whose people the actor manages."""
    managed = Organization.objects.permitted(actor, "manage_members").order_by()
    group_ids = [managed.values(role.key) for role in ROLES]
    # With an OR instead of the UNION, PostgreSQL reads all memberships.
    memberships = User.groups.through.objects.filter(
        group__in=group_ids[0].union(*group_ids[1:])
    )
    return User.objects.filter(pk__in=memberships.values("user"))


def name_for(user: User) -> str:
    """Return the name by which a superuser can add a user, and no one else."""
    if not is_address(user.username):
        return user.username
    return user.email if user.has_verified_email else f"#{user.pk}"
