"""Activity: what happened to organizations, contacts and people, in one list.

It joins the entries of several logs, newest first: the history of fields, the log of
Django's admin, the membership log, and the audit log. Each is read by an index, and no
further than the list needs. What a person may see follows the rules of the history page
and of these logs. Platform staff read about everything, and other people about their
own organizations.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple, dataclass, fields, replace
from heapq import merge
from operator import attrgetter
from typing import Any, TypeAlias

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Case, OuterRef, Q, QuerySet, Subquery, Value, When
from django.utils.functional import cached_property
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.membership_log import ENDED_AS_PLANNED, Event, make_source
from orgadmin.access.origin import BULK_CHANGE, COMMAND, IMPORT
from orgadmin.gate.answers import Gate
from orgadmin.models import Contact, MembershipEvent, Organization, User
from orgadmin.models.history import find_author
from orgadmin.models.validators import is_primary_key
from orgadmin.people.access_requests import APPROVED
from orgadmin.people.archive import ARCHIVED, RESTORED, TRASHED
from orgadmin.records.event_actors import hide_platform_staff_of_several
from orgadmin.records.feed_audit import read_audit_events
from orgadmin.records.feed_entries import (
    Entry,
    Row,
    add_to_action,
    is_one_action,
)
from orgadmin.records.feed_newest import Newest
from orgadmin.records.feed_own import read_requests, read_reviews
from orgadmin.records.history import describe_record, list_parts_about_related_objects
from orgadmin.records.versions import VERSIONS, cut_texts

# How many entries the list has on the home page, and a page of the whole list.
SHOWN = 12
PAGE = 50

# How many rows of a log are read first: most of them become an entry. After that, the
# batches grow.
FIRST_BATCH = SHOWN + 4
BATCH = 40
MAX_BATCH = 320

# How many rows a page may join, at most.
MAX_ROWS = 200

# Of how many organizations, and of how many of their contacts, people see the activity.
MAX_OWN = 1_000
MAX_CONTACTS = 500

# Values of fields are cut to this length, and only so many fields are shown.
VALUE_SHOWN = 60  # characters
FIELDS_SHOWN = 3

# How the membership log marks what an import or a bulk change did. That is an entry of
# its own.
SOURCES_OF_MANY = (
    make_source(IMPORT),
    make_source(f"{COMMAND}import_organizations"),
    make_source(BULK_CHANGE),
)

# What happened to organizations themselves, in Django's admin log. The history page
# shows it to people who may see everything of an organization.
ARCHIVE_TEXTS = (ARCHIVED, RESTORED, TRASHED)

# Which reasons in the membership log say what happened.
WHY = Case(
    When(event=Event.LEFT, reason=ENDED_AS_PLANNED, then=Value(ENDED_AS_PLANNED)),
    When(event=Event.JOINED, reason=APPROVED, then=Value(APPROVED)),
    default=Value(""),
)


@dataclass(frozen=True)
class VisibleRow:
    log: str
    key: int
    entry: Entry

    @property
    def at(self) -> datetime.datetime:
        return self.entry.at


@dataclass(frozen=True)
class Mark:
    """The time of the newest row of a log that has not been read."""

    at: datetime.datetime


Rows: TypeAlias = Iterator[VisibleRow | Mark]


@dataclass(frozen=True)
class Position:
    """Where a page begins: in each log, after the row with this key, or with the first.

    The names are those of the logs in `Row`.
    """

    records: int = 0
    log_entries: int = 0
    events: int = 0
    audit: int = 0
    # Of these two logs, it is the time.
    requests: int = 0
    reviews: int = 0

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that `str()` described, or else the beginning."""
        keys = text.split("-")
        is_valid = all(key == "0" or is_primary_key(key) for key in keys)
        if len(keys) != len(fields(cls)) or not is_valid:
            return cls()
        return cls(*(int(key) for key in keys))

    def __str__(self) -> str:
        return "-".join(str(key) for key in astuple(self))


BEGINNING = Position()


@dataclass(frozen=True)
class Page:
    """Entries, newest first. `older` is where the next page begins, or None."""

    entries: list[Entry]
    older: Position | None


class Reader:
    """Reads the logs for one person."""

    def __init__(
        self,
        gate: Gate,
        own_pks: list[int] | None = None,
        newest: Newest | None = None,
    ) -> None:
        """`own_pks` are the organizations that the person may view, if known.

        `newest` says when something last happened to these, if known.
        """
        self.gate = gate
        self.user: Any = gate.user
        self.sees_all = gate.permits_everywhere("view")
        self._own_pks = own_pks
        self._newest = newest

    @cached_property
    def own_pks(self) -> list[int]:
        """The organizations that the person reads about, unless it is all of them."""
        if self._own_pks is not None:
            return self._own_pks
        organizations = Organization.objects.permitted(self.user)
        return list(organizations.values_list("pk", flat=True)[:MAX_OWN])

    @cached_property
    def managed_pks(self) -> list[int]:
        """Those of these organizations whose members the person may manage."""
        if self._own_pks is not None:
            permits = self.gate.permits
            return [pk for pk in self._own_pks if permits("manage_members", pk)]
        managed = Organization.objects.permitted(self.user, "manage_members")
        return list(managed.values_list("pk", flat=True)[:MAX_OWN])

    def read(self, position: Position = BEGINNING, size: int = SHOWN) -> Page:
        """Return the newest entries after a position, `size` at most.

        Each log is read in batches, and no further than the page needs.
        """
        rows = self.merge_logs(position)
        entries: list[Entry] = []
        for number, row in enumerate(rows):
            is_same = bool(entries) and is_one_action(entries[-1], row.entry)
            is_full = len(entries) == size and not is_same
            if is_full or number == MAX_ROWS:
                return Page(entries, position)
            if is_same:
                entries[-1] = add_to_action(entries[-1], row.entry)
            else:
                entries.append(row.entry)
            position = replace(position, **{row.log: row.key})
        return Page(entries, None)

    def merge_logs(self, position: Position) -> Iterator[VisibleRow]:
        """Yield the rows of all logs after a position, the newest first."""
        log_entries: Rows = read_on(self.read_log_entries, position.log_entries)
        requests: Rows = read_on(self.read_requests, position.requests)
        reviews: Rows = read_on(self.read_reviews, position.reviews)
        if self._newest is not None:
            log_entries = wait_for(self._newest.log_entries, log_entries)
            requests = wait_for(self._newest.requests, requests)
            reviews = wait_for(self._newest.reviews, reviews)
        rows = merge(
            read_on(self.read_records, position.records),
            log_entries,
            read_on(self.read_events, position.events),
            read_on(self.read_audit, position.audit),
            requests,
            reviews,
            key=attrgetter("at"),
            reverse=True,
        )
        return (row for row in rows if isinstance(row, VisibleRow))

    # The history of fields

    def read_records(self, before: int, size: int) -> list[Row]:
        records = VERSIONS.order_by("-history_id")
        if self.sees_all:
            # What an import did is an entry of its own.
            records = records.filter(history_change_reason__isnull=True)
        else:
            records = records.filter(id__in=self.own_pks)
        if before:
            records = records.filter(history_id__lt=before)
        versions = read_versions(records, size)
        self.gate.learn({version.record.id for version in versions})
        return [
            Row(
                log="records",
                key=version.record.pk,
                entry=self.describe_version(version),
            )
            for version in versions
        ]

    def describe_version(self, version: Version) -> Entry | None:
        """Return the entry about a version, or None if the person may see no change."""
        record = version.record
        permissions = self.gate.permissions_on(record.id)
        if "view" not in permissions:
            # The organization is archived.
            return None
        log_entry = describe_record(version.before, record, permissions, VALUE_SHOWN)
        if record.history_type == "-" and self.user.is_superuser:
            # The audit log has it, also if many were deleted at once.
            return None
        if record.history_type == "-":
            log_entry = LogEntry(
                action_time=record.history_date,
                user=find_author(record) or User(username=_("unknown")),
                change_message=_("Deleted."),
            )
        if log_entry is None:
            return None
        action = None
        if record.history_change_reason == IMPORT:
            action = (IMPORT, record.history_user_key)
        return Entry(
            at=record.history_date,
            text=shorten(log_entry.change_message),
            organization_key=record.id,
            name=record.name,
            log_entry=log_entry,
            action=action,
            common_text=_("Changed."),
        )

    # The log of Django's admin

    def read_log_entries(self, before: int, size: int) -> list[Row]:
        log_entries = self.select_log_entries()
        if before:
            log_entries = log_entries.filter(pk__lt=before)
        rows = list(log_entries[:size])
        # The others read only about organizations that they may view.
        hidden = self.find_hidden(rows) if self.sees_all else set()
        self.gate.learn(find_archive_keys(rows))
        return [
            Row(
                log="log_entries",
                key=log_entry.pk,
                entry=self.describe_log_entry(log_entry, hidden),
            )
            for log_entry in rows
        ]

    def find_hidden(self, log_entries: Collection[LogEntry]) -> set[int]:
        """Return the keys of log entries about organizations that are archived."""
        organization_of = find_organizations(log_entries)
        self.gate.learn(set(organization_of.values()))
        return {
            key
            for key, organization in organization_of.items()
            if not self.gate.permits("view", organization)
        }

    def select_log_entries(self) -> QuerySet[LogEntry]:
        rows = LogEntry.objects.select_related("user").order_by("-pk")
        if self.user.is_superuser:
            return rows
        if self.sees_all:
            return rows.filter(
                content_type__in=[find_type(Organization), find_type(Contact)]
            )
        contacts = Contact.objects.filter(organization__in=self.own_pks)
        pks = contacts.order_by("-pk").values_list("pk", flat=True)[:MAX_CONTACTS]
        about_organizations = Q(
            content_type=find_type(Organization),
            object_id__in=[str(pk) for pk in self.own_pks],
        )
        about_organizations &= Q(change_message__contains='"name"') | Q(
            change_message__in=ARCHIVE_TEXTS
        )
        about_contacts = Q(
            content_type=find_type(Contact), object_id__in=[str(pk) for pk in pks]
        )
        return rows.filter(about_organizations | about_contacts)

    def describe_log_entry(
        self, log_entry: LogEntry, hidden: Collection[int]
    ) -> Entry | None:
        model = find_model(log_entry)
        key = log_entry.object_id or ""
        if model is None or not key.isdecimal() or log_entry.pk in hidden:
            return None
        if is_about_archive(log_entry):
            return self.describe_archiving(log_entry, int(key))
        if model is Organization:
            # The history has its fields.
            parts = list_parts_about_related_objects(log_entry)
            if not parts:
                return None
            log_entry.change_message = json.dumps(parts)
        entry = Entry(at=log_entry.action_time, text="", log_entry=log_entry)
        name = log_entry.object_repr
        if model is Organization:
            return replace(entry, organization_key=int(key), name=name)
        return replace(entry, other=(model, int(key)), other_name=name)

    def describe_archiving(self, log_entry: LogEntry, key: int) -> Entry | None:
        """Return the entry about an organization that was archived or restored."""
        if self.user.is_superuser:
            # The audit log has it, also if many were archived at once.
            return None
        if not self.gate.permits("view_confidential", key):
            return None
        text = _(log_entry.change_message)
        return Entry(
            at=log_entry.action_time,
            text=text,
            organization_key=key,
            name=log_entry.object_repr,
            log_entry=log_entry,
            action=(text, log_entry.user_id),
        )

    # The membership log

    def read_events(self, before: int, size: int) -> list[Row]:
        events = MembershipEvent.objects.order_by("-pk")
        if before:
            events = events.filter(pk__lt=before)
        if self.gate.permits_everywhere("manage_members"):
            # What an import or a bulk change did is an entry of its own. Only the keys
            # of the others are in the index.
            by_hand = events
            for source in SOURCES_OF_MANY:
                by_hand = by_hand.exclude(source=source)
            events = events.filter(pk__in=by_hand.values("pk")[:size])
        else:
            events = events.filter(organization_key__in=self.managed_pks)
        with_roles = events.find_previous_roles().annotate(why=WHY)
        rows = list(with_roles.defer("reason")[:size])
        hide_platform_staff_of_several(rows, self.user)
        self.gate.learn({event.organization_key for event in rows})
        # Many events have the same text.
        kinds = {find_kind(event): event for event in rows}
        texts = {kind: write_texts(event) for kind, event in kinds.items()}
        return [
            Row(
                log="events",
                key=event.pk,
                entry=self.make_entry(event, texts[find_kind(event)]),
            )
            for event in rows
        ]

    def make_entry(self, event: MembershipEvent, texts: EventTexts) -> Entry | None:
        if not self.gate.permits("view", event.organization_key):
            # The organization is archived.
            return None
        return make_entry(event, texts)

    # The audit log, and what org admins read instead of it

    def read_audit(self, before: int, size: int) -> list[Row]:
        return read_audit_events(self.gate, before, size)

    def read_requests(self, before: int, size: int) -> list[Row]:
        if self.sees_all or not self.managed_pks:
            return []
        return read_requests(self.managed_pks, self.user, before, size)

    def read_reviews(self, before: int, size: int) -> list[Row]:
        if self.sees_all or not self.managed_pks:
            return []
        return read_reviews(self.managed_pks, before, size)


def read_on(read: Callable[[int, int], list[Row]], before: int) -> Iterator[VisibleRow]:
    """Yield the rows of a log that have an entry, from the key `before` on, or all.

    `read(before, size)` returns the next rows. Batches grow, because a log may have
    many rows of which the person may see nothing.
    """
    size = FIRST_BATCH
    while True:
        rows = read(before, size)
        for row in rows:
            if row.entry is not None:
                yield VisibleRow(row.log, row.key, row.entry)
        if len(rows) < size:
            return
        before = rows[-1].key
        size = min(max(2 * size, BATCH), MAX_BATCH)


def wait_for(newest: datetime.datetime | None, rows: Rows) -> Rows:
    """Yield a mark with the time of the newest row of a log, and then its rows.

    Whoever merges several logs does not read this one until the others have got to that
    time. Without a newest row, the log has none.
    """
    if newest is not None:
        yield Mark(newest)
        yield from rows


@dataclass(frozen=True)
class Version:
    """A record of the history, and the one before it of the same organization."""

    before: Any
    record: Any


def read_versions(records: QuerySet, size: int) -> list[Version]:
    """Return the first `size` of the records as versions.

    Runs two queries. The first one reads only keys, because records may be large.
    """
    versions = VERSIONS.order_by()
    earlier = versions.filter(id=OuterRef("id"), history_id__lt=OuterRef("history_id"))
    before = Subquery(earlier.order_by("-history_id").values("history_id")[:1])
    newest = versions.filter(history_id__in=records.values("history_id")[:size])
    pairs = dict(newest.annotate(before=before).values_list("history_id", "before"))
    if not pairs:
        return []
    wanted = {*pairs.keys(), *pairs.values()} - {None}
    rows = cut_texts(versions.filter(history_id__in=wanted))
    loaded = {row.pk: row for row in rows.select_related("history_user")}
    return [
        Version(loaded.get(pairs[key]), loaded[key])
        for key in sorted(pairs, reverse=True)
        if key in loaded
    ]


def find_type(model: type) -> ContentType:
    return ContentType.objects.get_for_model(model)


def find_organizations(log_entries: Collection[LogEntry]) -> dict[int, int]:
    """Return {key of a log entry: key of its organization}.

    Leaves out entries about people, and about contacts that were deleted. Runs a query
    if there are contacts.
    """
    keys_of: dict[type | None, dict[int, int]] = defaultdict(dict)
    for log_entry in log_entries:
        key = log_entry.object_id or ""
        if is_primary_key(key):
            keys_of[find_model(log_entry)][log_entry.pk] = int(key)
    contacts = keys_of[Contact]
    found = keys_of[Organization]
    if contacts:
        rows = Contact.objects.filter(pk__in=set(contacts.values())).order_by()
        owner_of = dict(rows.values_list("pk", "organization"))
        for log_key, contact in contacts.items():
            if contact in owner_of:
                found[log_key] = owner_of[contact]
    return found


def is_about_archive(log_entry: LogEntry) -> bool:
    """Return whether a log entry says that an organization was archived or restored."""
    if find_model(log_entry) is not Organization:
        return False
    return log_entry.change_message in ARCHIVE_TEXTS


def find_archive_keys(log_entries: Collection[LogEntry]) -> set[int]:
    """Return the keys of organizations that were archived or restored."""
    return {
        int(log_entry.object_id or "")
        for log_entry in log_entries
        if is_about_archive(log_entry) and is_primary_key(log_entry.object_id or "")
    }


def find_model(log_entry: LogEntry) -> type | None:
    if log_entry.content_type_id is None:
        return None
    # Django remembers these.
    content_type = ContentType.objects.get_for_id(log_entry.content_type_id)
    return content_type.model_class()


def shorten(text: str) -> str:
    """Return a description of changed fields in one line, with the first ones only."""
    lines = text.split("\n")
    shown = " ".join(lines[:FIELDS_SHOWN])
    more = len(lines) - FIELDS_SHOWN
    if more <= 0:
        return shown
    rest = ngettext("and %d more field", "and %d more fields", more)
    return f"{shown} … {rest % more}"


def get_why(event: MembershipEvent) -> str:
    """Return the reason of an event if it says what happened, or ""."""
    why: str = getattr(event, "why", "")
    return why


@dataclass(frozen=True)
class EventTexts:
    """What an entry says about one event, and about several in common."""

    text: str
    common_text: str


def find_kind(event: MembershipEvent) -> tuple[Any, ...]:
    """Return what events have in common that have the same text."""
    return (event.event, event.role, event.replaced, event.ends_at, get_why(event))


def describe_event(event: MembershipEvent) -> str:
    """Return what happened: "role changed (Reviewer → Admin, until Dec. 31, 2026)"."""
    what = describe_reason(event)
    details = [str(event.shown_role)]
    if event.shown_end and event.event != Event.END_CHANGED:
        details.append(event.shown_end)
    return f"{what} ({', '.join(details)})"


def describe_reason(event: MembershipEvent) -> str:
    """Return what happened, without the role."""
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


def choose_action(event: MembershipEvent, text: str) -> tuple[Any, ...]:
    """Return what events have in common that are parts of one action."""
    if event.source == make_source(BULK_CHANGE):
        return (event.source, text, event.actor_key)
    if event.event == Event.LEFT:
        # Someone who leaves loses several roles.
        return (event.user_name, event.event, get_why(event), event.actor_key)
    return (event.user_name, text, event.actor_key)


def write_texts(event: MembershipEvent) -> EventTexts:
    return EventTexts(describe_event(event), str(event.get_event_display()))


def make_entry(event: MembershipEvent, texts: EventTexts) -> Entry:
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
        action=choose_action(event, texts.text),
        common_text=texts.common_text,
    )
