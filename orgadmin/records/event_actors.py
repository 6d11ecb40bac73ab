"""Names of the people in the membership log, limited to what a reader can see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.utils.translation import gettext

from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.people.find_namesakes import find_named_members

# The fields that the names of people consist of
NAME_FIELDS = ("username", "first_name", "last_name", "email")


def find_known_actors(
    keys: Collection[int | None], organization: Organization
) -> set[int | None]:
    """Return the keys of people who are or were members of the organization.

    The organization's admins can see who these people are, but not who is on the
    platform staff. Runs one query.
    """
    members = MembershipEvent.objects.filter(
        organization_key=organization.pk, user_key__in=keys
    )
    return set(members.values_list("user_key", flat=True))


def hide_platform_staff(
    events: Collection[MembershipEvent],
    organization: Organization,
    user: User,
    known_keys: Collection[int | None] | None = None,
) -> None:
    """Replace the names of actors who were never members with "Platform staff".

    Also removes their keys. Does nothing for superusers, who see all names.
    `known_keys` are the keys of current and former members, as `find_known_actors()`
    returns them. If it is None, runs one query.
    """
    if user.is_superuser:
        return
    if known_keys is None:
        actor_keys = {event.actor_key for event in events}
        known_keys = find_known_actors(actor_keys, organization)
    for event in events:
        hide_actor(event, known_keys)


def hide_platform_staff_of_several(
    events: Collection[MembershipEvent], user: User
) -> None:
    """Do what `hide_platform_staff()` does, for events of several organizations."""
    actor_keys = {event.actor_key for event in events} - {None}
    if user.is_superuser or not actor_keys:
        return
    members = MembershipEvent.objects.filter(
        organization_key__in={event.organization_key for event in events},
        user_key__in=actor_keys,
    )
    known_keys: dict[int, set[int | None]] = defaultdict(set)
    for organization_key, key in members.values_list("organization_key", "user_key"):
        known_keys[organization_key].add(key)
    for event in events:
        hide_actor(event, known_keys[event.organization_key])


def hide_actor(event: MembershipEvent, known_keys: Collection[int | None]) -> None:
    if event.actor_key and event.actor_key not in known_keys:
        event.actor_name = gettext("Platform staff")
        event.actor_key = None


def find_names(
    keys: Collection[int | None], organization: Organization, reader: User
) -> dict[int | None, str]:
    """Return {key: current name} of the people whose current name the reader can see.

    Superusers can see everyone who has an account. Others can see the current members
    of the organization, as on its People page. They cannot see the current names of
    former members. Runs up to one query.
    """
    if reader.is_superuser:
        return find_names_for_superusers(keys)
    members = find_named_members(keys, [organization])
    return {key: user.label_without_email for (_pk, key), user in members.items()}


def find_names_for_superusers(keys: Collection[int | None]) -> dict[int | None, str]:
    """Return {key: name} of the people who have an account. Runs up to one query."""
    known = set(keys) - {None}
    if not known:
        return {}
    people = User.objects.filter(pk__in=known).only(*NAME_FIELDS)
    return {person.pk: name_for_superusers(person) for person in people}


def name_for_superusers(person: User) -> str:
    """Return the name of a person in logs, such as "Mary Ng (mary@example.com)".

    Someone else on the site may have the same name, so the full name never stands
    alone. Without a full name, this is the username, which the logs also store.
    """
    if not person.get_full_name():
        return person.username
    person.has_namesake = True
    return person.label


def name_people(
    events: Collection[MembershipEvent], organization: Organization, reader: User
) -> None:
    """Set the names in events to the current names that the reader can see.

    All other people keep the names that the events have stored. Call
    `hide_platform_staff()` first. Do not save the events afterwards.
    """
    keys = {event.user_key for event in events} | {event.actor_key for event in events}
    names = find_names(keys, organization, reader)
    for event in events:
        event.user_name = names.get(event.user_key, event.user_name)
        event.actor_name = names.get(event.actor_key, event.actor_name)
