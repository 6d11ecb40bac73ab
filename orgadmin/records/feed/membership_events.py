"""Activity from the membership log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _

from orgadmin.access.membership_log import (
    ENDED_AS_PLANNED,
    Event,
    MembershipEventQuerySet,
    make_source,
)
from orgadmin.access.origin import BULK_CHANGE, COMMAND, IMPORT, UNDO
from orgadmin.models import MembershipEvent, User
from orgadmin.people.access_requests import APPROVED
from orgadmin.records.event_actors import hide_platform_staff_of_several
from orgadmin.records.feed.entries import Entry, Row
from orgadmin.records.feed.scope import Scope

# The sources of events that were caused by an import, its undo or a bulk change. People
# who manage all members see one entry for the whole action instead.
SOURCES_OF_MANY = (
    make_source(IMPORT),
    make_source(UNDO),
    make_source(f"{COMMAND}import_organizations"),
    make_source(f"{COMMAND}import_people"),
    make_source(BULK_CHANGE),
)

# The annotation `why`: the reason of an event, if it is one of those that say what
# happened. Other reasons can be long, and are not read.
WHY = RawSQL(
    f"""
    CASE
        WHEN orgadmin_membershipevent.event = '{Event.LEFT}'
            AND orgadmin_membershipevent.reason = %s
        THEN orgadmin_membershipevent.reason
        WHEN orgadmin_membershipevent.event = '{Event.JOINED}'
            AND orgadmin_membershipevent.reason = %s
        THEN orgadmin_membershipevent.reason
        ELSE ''
    END
    """,
    [ENDED_AS_PLANNED, APPROVED],
    CharField(),
)


@dataclass(frozen=True)
class EventTexts:
    """The texts of an entry."""

    text: str
    common_text: str  # for several events with different texts


def read_events(scope: Scope, before: int, size: int) -> Iterator[Row]:
    """Yield up to `size` events, newest first.

    Unless `before` is 0, yields only events with a key below `before`. Runs one query
    for the events, and further queries to check access and to hide the names of
    platform staff.
    """
    events = select_events(scope, before, size)
    with_roles = events.with_previous_roles().annotate(why=WHY)
    rows = list(with_roles.defer("reason")[:size])
    hide_platform_staff_of_several(rows, scope.user)
    scope.gate.learn({event.organization_key for event in rows})
    # Many events have the same text.
    texts: dict[tuple[Any, ...], EventTexts] = {}
    for event in rows:
        entry = None
        # If the person cannot view the organization, it is archived.
        if scope.gate.permits("view", event.organization_key):
            kind = find_kind(event)
            if kind not in texts:
                texts[kind] = write_texts(event)
            entry = make_entry(event, texts[kind])
        yield Row("events", event.pk, entry)


def select_events(scope: Scope, before: int, size: int) -> MembershipEventQuerySet:
    """Return the events that the person can see, newest first.

    The caller takes the first `size`. Organization admins see every event. For people
    who manage all members, events of imports and bulk changes are left out, because
    each import and each bulk change has an entry of its own.
    """
    events = MembershipEvent.objects.order_by("-pk")
    if before:
        events = events.filter(pk__lt=before)
    if not scope.gate.permits_everywhere("manage_members"):
        return events.filter(organization_key__in=scope.managed_pks)
    # The database finds the keys in a partial index, which leaves out the same sources.
    # The subquery has a limit, so that the database reads only so many keys.
    by_hand = events
    for source in SOURCES_OF_MANY:
        by_hand = by_hand.exclude(source=source)
    return events.filter(pk__in=by_hand.values("pk")[:size])


def get_why(event: MembershipEvent) -> str:
    """Return the reason of an event if it says what happened, or ""."""
    why: str = getattr(event, "why", "")
    return why


def find_kind(event: MembershipEvent) -> tuple[Any, ...]:
    """Return a key that is the same for events with the same text."""
    return (event.event, event.role, event.replaced, event.ends_at, get_why(event))


def describe_event(event: MembershipEvent) -> str:
    """Return what happened.

    For example, "role changed (Reviewer → Admin, until Dec. 31, 2026)".
    """
    what = describe_without_role(event)
    details = [str(event.shown_role)]
    if event.shown_end and event.event != Event.END_CHANGED:
        details.append(event.shown_end)
    return f"{what} ({', '.join(details)})"


def describe_without_role(event: MembershipEvent) -> str:
    """Return what happened, such as "role changed"."""
    why = get_why(event)
    if why == ENDED_AS_PLANNED:
        return _("access ended as planned")
    if why == APPROVED:
        return _("request approved")
    if event.event == Event.END_CHANGED and event.ends_at is not None:
        return _("access %(until)s") % {"until": event.shown_end}
    if event.event == Event.END_CHANGED:
        return _("access without an end date")
    if event.replaced is not None:
        return _("role changed")
    return str(event.get_event_display())


def make_action_key(event: MembershipEvent, text: str) -> tuple[Any, ...]:
    """Return a key that is the same for the events of one action."""
    if event.source == make_source(BULK_CHANGE):
        return (event.source, text, event.actor_key)
    if event.event == Event.LEFT:
        # Someone who leaves may lose several roles, which is one action.
        return (event.user_name, event.event, get_why(event), event.actor_key)
    return (event.user_name, text, event.actor_key)


def write_texts(event: MembershipEvent) -> EventTexts:
    return EventTexts(describe_event(event), str(event.get_event_display()))


def make_entry(event: MembershipEvent, texts: EventTexts) -> Entry:
    """Return the feed's entry for an event. `other` is the person.

    If the event does not have an account, the key of the person is 0, which no account
    has.
    """
    return Entry(
        at=event.at,
        text=texts.text,
        organization_key=event.organization_key,
        name=event.organization_name,
        other=(User, event.user_key or 0),
        other_name=event.user_name,
        author_key=event.actor_key,
        author_name=event.actor_name,
        source=event.source,
        action=make_action_key(event, texts.text),
        common_text=texts.common_text,
    )
