"""Activity from the audit log: actions on many objects at once.

Superusers can read the whole audit log. Delegated staff who manage the members of all
organizations get only the events that they can also see on People pages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from django.db.models.expressions import RawSQL
from django.utils.functional import Promise
from django.utils.translation import (
    gettext as _,
    gettext_lazy,
    ngettext_lazy,
    pgettext,
)

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.authors import describe_means
from orgadmin.access.origin import UNDO
from orgadmin.access.roles import get_role
from orgadmin.gate.answers import Gate
from orgadmin.models import AccessReview, AuditEvent, MembershipEvent, User
from orgadmin.people import archive
from orgadmin.records.event_actors import hide_platform_staff_of_several
from orgadmin.records.feed.entries import Entry, Row
from orgadmin.records.versions import VERSIONS

# Events for people who manage the members of all organizations. People pages show them,
# too.
EVENTS_ABOUT_MEMBERS = (
    SecurityEvent.ROLES_CHANGED,
    SecurityEvent.ACCESS_REQUESTED,
    SecurityEvent.ACCESS_DECLINED,
)

# {event: what it did to organizations}
EVENTS_ABOUT_ORGANIZATIONS = {
    SecurityEvent.ORGANIZATIONS_ARCHIVED: archive.ARCHIVED,
    SecurityEvent.ORGANIZATIONS_RESTORED: archive.RESTORED,
    SecurityEvent.ORGANIZATIONS_TRASHED: archive.TRASHED,
    SecurityEvent.ORGANIZATIONS_DELETED: "Deleted.",
}

EVENTS_ABOUT_REVIEWS: dict[SecurityEvent, str | Promise] = {
    SecurityEvent.REVIEW_STARTED: gettext_lazy("Started."),
    SecurityEvent.REVIEW_CLOSED: gettext_lazy("Closed early."),
    SecurityEvent.REVIEW_CANCELLED: gettext_lazy("Canceled."),
    SecurityEvent.REVIEW_COMPLETED: gettext_lazy("Completed."),
}

EVENTS_OF_SUPERUSERS = (
    SecurityEvent.IMPORTED,
    SecurityEvent.IMPORT_UNDONE,
    *EVENTS_ABOUT_MEMBERS,
    *EVENTS_ABOUT_ORGANIZATIONS,
    *EVENTS_ABOUT_REVIEWS,
)

# {kind of a bulk change: what was done}
BULK_CHANGES = {
    "give": gettext_lazy("Roles given"),
    "replace": gettext_lazy("Person replaced"),
    "end": gettext_lazy("Access ended"),
}

# {detail of the event: what it counts}
COUNTS_OF_IMPORT = {
    "created": ngettext_lazy("%d organization added", "%d organizations added"),
    "changed": ngettext_lazy("%d organization changed", "%d organizations changed"),
    "people": ngettext_lazy("%d person got a role", "%d people got a role"),
    "ends": ngettext_lazy("%d last day changed", "%d last days changed"),
    "invited": ngettext_lazy("%d person invited", "%d people invited"),
}
COUNTS_OF_UNDO = {
    "deleted": ngettext_lazy("%d organization deleted", "%d organizations deleted"),
    "restored": ngettext_lazy("%d organization changed", "%d organizations changed"),
    "roles": ngettext_lazy("%d role changed", "%d roles changed"),
    "kept": ngettext_lazy("%d row not undone", "%d rows not undone"),
}
COUNTS_OF_BULK_CHANGE = {
    "people": ngettext_lazy("%d person", "%d people"),
    "changed": ngettext_lazy("%d role changed", "%d roles changed"),
    "invited": ngettext_lazy("%d invitation sent", "%d invitations sent"),
}

# Selects the keys of the newest events of one kind. The index begins with the kind, so
# there is one statement for each kind. Parameters: the kind of event, the key before
# which the events begin, and the maximum number of events.
NEWEST = """
    SELECT id FROM (
        SELECT id FROM orgadmin_auditevent
        WHERE event = %s AND id < %s
        ORDER BY at DESC, id DESC
        LIMIT %s
    ) AS newest_{number}
"""
LAST_KEY = 2**63 - 1


@dataclass(frozen=True)
class Deleted:
    """An organization that no longer exists, according to the history."""

    name: str
    means: str  # as in `current_means`


def read_audit_events(gate: Gate, before: int, size: int) -> list[Row]:
    """Return the newest events with a key below `before`, or of all if `before` is 0.

    Returns [] for people who cannot see any kind of events. Runs one query, and up to
    two more that check access and find names.
    """
    kinds = choose_kinds(gate)
    if not kinds:
        return []
    events = select_newest(kinds, before, size)
    authors = find_authors(events, gate)
    deleted = find_deleted(events)
    gate.learn(find_organizations(events))
    rows = []
    for event in events:
        entry = make_entry(event, gate, authors[event.pk], deleted)
        rows.append(Row("audit", event.pk, entry))
    return rows


def choose_kinds(gate: Gate) -> Sequence[SecurityEvent]:
    if gate.user.is_superuser:
        return EVENTS_OF_SUPERUSERS
    if gate.permits_everywhere("manage_members"):
        return EVENTS_ABOUT_MEMBERS
    return ()


def select_newest(
    kinds: Sequence[SecurityEvent], before: int, size: int
) -> list[AuditEvent]:
    """Return the newest events of these kinds with a key below `before`, if not 0."""
    parameters: list[Any] = []
    statements = []
    for number, kind in enumerate(kinds):
        statements.append(NEWEST.format(number=number))
        parameters += [kind.value, before or LAST_KEY, size]
    keys = RawSQL(" UNION ALL ".join(statements), parameters)
    return list(AuditEvent.objects.filter(pk__in=keys).order_by("-at", "-pk")[:size])


def find_authors(
    events: Collection[AuditEvent], gate: Gate
) -> dict[int, MembershipEvent]:
    """Return {key of an event: its author, limited to what the person can see}.

    The rule about names of authors is the same as in the membership log.
    """
    authors = {}
    for event in events:
        authors[event.pk] = MembershipEvent(
            organization_key=event.details.get("organization", 0),
            actor_key=event.actor_key,
            actor_name=event.actor_name,
        )
    if events:
        hide_platform_staff_of_several(authors.values(), cast(User, gate.user))
    return authors


def find_organizations(events: Collection[AuditEvent]) -> set[int]:
    """Return the keys of the organizations whose members the events are about."""
    keys = {event.details.get("organization") for event in events}
    return {key for key in keys if key is not None}


def find_deleted(events: Collection[AuditEvent]) -> dict[int, Deleted]:
    """Return {key: deleted organization} for the organizations that entries name.

    Runs a query if there are events about organizations.
    """
    keys: set[int] = set()
    for event in events:
        if event.event in EVENTS_ABOUT_ORGANIZATIONS:
            keys.update(event.details["organizations"][:1])
    if not keys:
        return {}
    records = VERSIONS.filter(id__in=keys, history_type="-").order_by()
    rows = records.values_list("id", "name", "history_change_reason")
    return {key: Deleted(name, means or "") for key, name, means in rows}


def make_entry(
    event: AuditEvent,
    gate: Gate,
    author: MembershipEvent,
    deleted: Mapping[int, Deleted],
) -> Entry | None:
    """Return the feed's entry for an event, or None if the feed does not show it."""
    kind = SecurityEvent(event.event)
    if kind in EVENTS_ABOUT_ORGANIZATIONS:
        return make_entry_of_organizations(event, kind, deleted)
    if kind in (SecurityEvent.ACCESS_REQUESTED, SecurityEvent.ACCESS_DECLINED):
        return make_entry_of_request(event, kind, gate, author)
    entry = Entry(
        at=event.at,
        text="",
        author_key=author.actor_key,
        author_name=author.actor_name,
    )
    if kind is SecurityEvent.IMPORTED:
        text = describe_import(event.details)
        return replace(entry, text=text, name=pgettext("noun", "Import"))
    if kind is SecurityEvent.IMPORT_UNDONE:
        text = describe_undo(event.details)
        return replace(entry, text=text, name=_("Undo of an import"))
    if kind is SecurityEvent.ROLES_CHANGED:
        name = BULK_CHANGES.get(event.details.get("kind", ""), event.event_label)
        text = describe_bulk_change(event.details)
        return replace(entry, text=text, name=str(name))
    return replace(
        entry,
        text=str(EVENTS_ABOUT_REVIEWS[kind]),
        other=(AccessReview, event.details["review"]),
        other_name=_("Access review"),
    )


def make_entry_of_organizations(
    event: AuditEvent, kind: SecurityEvent, deleted: Mapping[int, Deleted]
) -> Entry | None:
    """Return the entry about organizations that were archived, restored or deleted.

    Returns None for deletions by the undo of an import, which has an entry of its own.
    """
    keys = event.details["organizations"]
    if not keys:
        return None
    [key] = keys[:1]
    gone = deleted.get(key)
    if gone is not None and gone.means == UNDO:
        return None
    author_name = event.actor_name
    if gone is not None and kind is SecurityEvent.ORGANIZATIONS_DELETED:
        author_name = describe_means(gone.means, author_name) or _("unknown")
    return Entry(
        at=event.at,
        text=_(EVENTS_ABOUT_ORGANIZATIONS[kind]),
        organization_key=key,
        # The page replaces the names of organizations that exist.
        name=gone.name if gone is not None else _("Organization %d") % key,
        author_key=event.actor_key,
        author_name=author_name,
        organizations=len(keys),
        tells_archived=True,
    )


def make_entry_of_request(
    event: AuditEvent, kind: SecurityEvent, gate: Gate, author: MembershipEvent
) -> Entry | None:
    """Return the entry about a request for access, or None if the person cannot see it.

    `author` is the author of the event as the person can see it.
    """
    if not gate.permits("manage_members", event.details["organization"]):
        # The organization is archived.
        return None
    is_own = kind is SecurityEvent.ACCESS_REQUESTED
    return Entry(
        at=event.at,
        text=describe_request(event.details["role"], is_declined=not is_own),
        organization_key=event.details["organization"],
        other=(User, event.user_key or 0),
        other_name=event.user_name,
        # The subject says who asked.
        author_key=None if is_own else author.actor_key,
        author_name="" if is_own else author.actor_name,
    )


def describe_request(role_key: str, *, is_declined: bool) -> str:
    """Return what happened to a request, such as "asked for a role (Reviewer)"."""
    label = get_role(role_key).label
    if is_declined:
        return _("request declined (%(role)s)") % {"role": label}
    return _("asked for a role (%(role)s)") % {"role": label}


def describe_import(details: Mapping[str, Any]) -> str:
    """Return how many organizations and people an import has added or changed."""
    return describe_counts(details, COUNTS_OF_IMPORT)


def describe_undo(details: Mapping[str, Any]) -> str:
    """Return how many organizations and people the undo of an import has changed."""
    return describe_counts(details, COUNTS_OF_UNDO)


def describe_counts(details: Mapping[str, Any], texts: Mapping[str, Any]) -> str:
    """Return the counts in the details of an event as text, without zeros.

    `texts` is {detail: its plural forms}, in the order of the result.
    """
    found = [text % details[name] for name, text in texts.items() if details.get(name)]
    return ", ".join(found) or _("Nothing was changed.")


def describe_bulk_change(details: Mapping[str, Any]) -> str:
    """Return how many people and roles a bulk change has changed."""
    return describe_counts(details, COUNTS_OF_BULK_CHANGE)
