"""Finds the people that someone has named, to add them to an organization."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q

from orgadmin.access.batches import split_into_batches
from orgadmin.access.roles import ROLES
from orgadmin.models import Membership, Organization, User
from orgadmin.models.addresses import fold_email, fold_username, normalize_email
from orgadmin.models.user_queryset import choose_by_username, has_username
from orgadmin.models.validators import is_primary_key

if TYPE_CHECKING:
    from django.db.models import QuerySet

SEPARATORS = re.compile(r"[,;\n\r]+")

# "#17" stands for the account with this ID.
KEY = re.compile(r"#(\d+)")

BATCH = 1_000  # names in one query


@dataclass
class NamedPeople:
    """What a list of names means."""

    users: list[User] = field(default_factory=list)  # will get a role
    emails: list[str] = field(default_factory=list)  # will be invited
    unknown: list[str] = field(default_factory=list)  # do not match anyone


def split_names(text: str) -> list[str]:
    """Return the names in a text, separated by commas, semicolons or line breaks."""
    names = [name.strip() for name in SEPARATORS.split(text)]
    return list(dict.fromkeys(name for name in names if name))


def is_address(name: str) -> bool:
    """Return whether a name is an email address rather than a username.

    Usernames can contain an "@", too. A name with an "@" is nevertheless treated as an
    address, because someone could choose another person's address as their username,
    and would then get roles that are meant for that person.
    """
    return "@" in normalize_email(name)


def find_named(names: Sequence[str], *, actor: User) -> NamedPeople:
    """Return what the names mean, limited to people that the actor can name.

    Superusers can name everyone, by username, by ID such as "#17", or by a verified
    email address. Other people can only name members of the organizations that they
    manage, and only by username. For them, every address becomes an invitation, so that
    the result does not reveal who has an account. The returned addresses are in their
    normal form. Runs up to one query for usernames, and one for addresses.
    """
    found = NamedPeople()
    addresses = [
        fold_email(normalize_email(name)) for name in names if is_address(name)
    ]
    usernames = [name for name in names if not is_address(name)]
    users_by_email = (
        find_users_by_verified_email(addresses) if actor.is_superuser else {}
    )
    for email in dict.fromkeys(addresses):
        if email in users_by_email:
            found.users.append(users_by_email[email])
        else:
            found.emails.append(email)
    candidates = find_candidates(usernames, actor=actor)
    for name in usernames:
        user = choose_user(candidates, name)
        if user is None:
            found.unknown.append(name)
        elif user not in found.users:
            found.users.append(user)
    return found


def find_users_by_verified_email(emails: Collection[str]) -> dict[str, User]:
    """Return {email address: user} for users who have verified their address.

    `emails` must be results of `fold_email()`.
    """
    if not emails:
        return {}
    users = User.objects.find_by_emails(emails)
    return {email: user for email, user in users.items() if user.has_verified_email}


def find_candidates(usernames: Collection[str], *, actor: User) -> list[User]:
    """Return the users that the actor may mean by the names. Runs up to one query."""
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


def choose_user(candidates: Collection[User], name: str) -> User | None:
    """Return the candidate with this username, or else with this ID."""
    user = choose_by_username(candidates, name)
    key = read_key(name)
    if user is None and key is not None:
        return next((user for user in candidates if user.pk == key), None)
    return user


def read_key(name: str) -> int | None:
    """Return the ID in "#17", or None for other text."""
    match = KEY.fullmatch(name)
    if match is None or not is_primary_key(match[1]):
        return None
    return int(match[1])


def find_known_people(actor: User) -> QuerySet[User]:
    """Return the members of the organizations whose people the actor manages."""
    managed = Organization.objects.permitted(actor, "manage_members").order_by()
    group_ids = [managed.values(role.key) for role in ROLES]
    # With an OR instead of the UNION, PostgreSQL reads all memberships.
    members = Membership.objects.users_in(group_ids[0].union(*group_ids[1:]))
    return User.objects.filter(pk__in=members)


def name_for(user: User) -> str:
    """Return a name that identifies this user when a superuser types it."""
    if not is_address(user.username):
        return user.username
    return user.email if user.has_verified_email else f"#{user.pk}"


@dataclass(frozen=True)
class Naming:
    """A name that a superuser typed, and the people it may mean.

    `user` is set if the name means exactly one person. It is not set for an address
    that is not verified, because someone else may have entered it. `candidates` is
    empty if nobody has the name.
    """

    name: str
    user: User | None = None
    candidates: tuple[User, ...] = ()


def identify(names: Collection[str]) -> dict[str, Naming]:
    """Return {name: Naming} for usernames, IDs such as "#17", and email addresses.

    Only for superusers, because the result reveals who has an account. Runs up to two
    queries per BATCH names.
    """
    found: dict[str, Naming] = {}
    for batch in split_into_batches(dict.fromkeys(names), BATCH):
        emails = {
            name: fold_email(normalize_email(name))
            for name in batch
            if is_address(name)
        }
        users_by_email = (
            User.objects.find_by_emails(set(emails.values())) if emails else {}
        )
        named = find_users_named(batch)
        for name in batch:
            found[name] = choose_meaning(
                name, named, users_by_email.get(emails.get(name, ""))
            )
    return found


def find_users_named(names: Collection[str]) -> list[User]:
    """Return the users with one of these usernames or IDs, such as "#17"."""
    keys = [key for key in map(read_key, names) if key is not None]
    folds = {fold_username(name) for name in names}
    users = User.objects.filter(
        Q(username__in=names) | Q(username_fold__in=folds) | Q(pk__in=keys)
    )
    return list(users.order_by("pk"))


def choose_meaning(name: str, named: Collection[User], owner: User | None) -> Naming:
    """Return the user that a typed name identifies.

    `named` are users found for several names, including those with this username or ID.
    `owner` is the user with this email address. The result has no user if several
    match, or if the name is an address that its owner has not verified.
    """
    key = read_key(name)
    namesake = choose_by_username(named, name)
    with_key = next((user for user in named if user.pk == key), None)
    meanings = [user for user in (owner, namesake, with_key) if user is not None]
    candidates = tuple(dict.fromkeys(meanings))
    if len(candidates) != 1:
        return Naming(name, candidates=candidates)
    is_confirmed = owner is not None and owner.has_verified_email
    if is_address(name) and not is_confirmed:
        return Naming(name, candidates=candidates)
    return Naming(name, user=candidates[0], candidates=candidates)
