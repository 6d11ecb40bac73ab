"""Who made the changes of the membership log, as far as a reader may know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.utils.translation import gettext

from orgadmin.models import MembershipEvent, Organization, User


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
    if user.is_superuser:
        return
    members = MembershipEvent.objects.filter(
        organization_key__in={event.organization_key for event in events},
        user_key__in={event.actor_key for event in events} - {None},
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
