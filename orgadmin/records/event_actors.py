"""Who made the changes of the membership log, as far as a reader may know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.utils.translation import gettext

from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.people.namesakes import find_named_members

# What the names of people are made of.
NAME_FIELDS = ("username", "first_name", "last_name", "email")


def find_known_actors(
    keys: Collection[int | None], organization: Organization
) -> set[int | None]:
    """Return the keys of people who were members at some time. Runs one query.

    An organization's admins know these people, but not platform staff.
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
    """Remove actors who were never members of the organization.

    Its admins do not know these people. Superusers see all names. Runs one query,
    unless `known_keys` already are the keys of those who were members.
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
    """Return {key: what the reader may call this person today}.

    Superusers know everyone who has an account. Others know the members of the
    organization, whom its People page names, and not how former members are called now.
    Runs one query at most.
    """
    if reader.is_superuser:
        return find_names_for_superusers(keys)
    members = find_named_members(keys, [organization])
    return {key: user.label_without_email for (_pk, key), user in members.items()}


def find_names_for_superusers(keys: Collection[int | None]) -> dict[int | None, str]:
    """Return {key: name} of the people who have an account. Runs one query at most."""
    known = set(keys) - {None}
    if not known:
        return {}
    people = User.objects.filter(pk__in=known).only(*NAME_FIELDS)
    return {person.pk: name_for_superusers(person) for person in people}


def name_for_superusers(person: User) -> str:
    """Return what logs call a person, such as "Mary Ng (mary@example.com)".

    Anyone on the site may be called the same, so the full name never stands alone. If
    there is none, this is the username, as the logs have stored it.
    """
    if not person.get_full_name():
        return person.username
    person.has_namesake = True
    return person.label


def name_people(
    events: Collection[MembershipEvent], organization: Organization, reader: User
) -> None:
    """Let events name people as they are called today, as far as the reader knows.

    The events must not be saved. They keep the stored usernames of all others. Call
    `hide_platform_staff()` before.
    """
    keys = {event.user_key for event in events} | {event.actor_key for event in events}
    names = find_names(keys, organization, reader)
    for event in events:
        event.user_name = names.get(event.user_key, event.user_name)
        event.actor_name = names.get(event.actor_key, event.actor_name)
