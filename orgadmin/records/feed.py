"""Activity: what happened to organizations, contacts and people, in one list.

It joins the entries of several logs, newest first: the history of fields, the log of
Django's admin, the membership log, and the imports of the audit log. Each is read by an
index, and no further than the list needs. What a person may see follows the rules of
the history page and of the membership log. Platform staff read about everything, and
other people about their own organizations.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple, dataclass, fields, replace
from heapq import merge
from operator import attrgetter
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils.functional import cached_property
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.membership_log import make_source
from orgadmin.access.origin import COMMAND, IMPORT
from orgadmin.gate.answers import Gate
from orgadmin.models import AuditEvent, Contact, MembershipEvent, Organization, User
from orgadmin.models.history import find_author
from orgadmin.models.validators import is_primary_key
from orgadmin.records.event_actors import hide_platform_staff_of_several
from orgadmin.records.history import describe_record, list_parts_about_related_objects
from orgadmin.records.versions import VERSIONS, cut_texts

# How many entries the list has on the home page, and a page of the whole list.
SHOWN = 12
PAGE = 50

# How many rows of a log are read at a time. Most of them become an entry. Versions of
# an organization are large, so fewer of them are read first.
BATCH = 40
FIRST_VERSIONS = SHOWN + 4
MAX_BATCH = 320

# How many rows a page may join, at most.
MAX_ROWS = 200

# Of how many organizations, and of how many of their contacts, people see the activity.
MAX_OWN = 1_000
MAX_CONTACTS = 500

# Values of fields are cut to this length, and only so many fields are shown.
VALUE_SHOWN = 60  # characters
FIELDS_SHOWN = 3

# What one action did to several organizations is one entry, if it took no longer.
AT_ONCE = datetime.timedelta(minutes=1)

# How the membership log marks what an import did, which is an entry of its own.
IMPORT_SOURCES = (
    make_source(IMPORT),
    make_source(f"{COMMAND}import_organizations"),
)


@dataclass(frozen=True)
class Entry:
    """Something that happened, not yet as the person may see it."""

    at: datetime.datetime
    text: str
    # What it is about. The name remains when the object was deleted.
    organization_key: int | None = None
    name: str = ""
    # A contact, a person or another object that it is about, as (model, key).
    other: tuple[type, int] | None = None
    other_name: str = ""
    # Who did it, if there is no log entry: the key, or None, and the name, or "".
    author_key: int | None = None
    author_name: str = ""
    source: str = ""  # as in `MembershipEvent`
    # The rules about names and details apply to this.
    log_entry: LogEntry | None = None
    # Entries that have this in common are parts of one action.
    action: tuple[Any, ...] | None = None
    number: int = 1


@dataclass(frozen=True)
class Row:
    """A row of a log. `entry` is None if the person may see nothing of it."""

    log: str
    key: int
    entry: Entry | None


@dataclass(frozen=True)
class VisibleRow:
    log: str
    key: int
    entry: Entry


@dataclass(frozen=True)
class Position:
    """Where a page begins: in each log, after the row with this key, or with the first.

    The names are those of the logs in `Row`.
    """

    records: int = 0
    log_entries: int = 0
    events: int = 0
    imports: int = 0

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

    def __init__(self, gate: Gate, own_pks: list[int] | None = None) -> None:
        """`own_pks` are the organizations that the person may view, if known."""
        self.gate = gate
        self.user: Any = gate.user
        self.sees_all = gate.permits_everywhere("view")
        self._own_pks = own_pks

    @cached_property
    def own_pks(self) -> list[int]:
        """The organizations that the person reads about, unless it is all of them."""
        if self._own_pks is not None:
            return self._own_pks
        organizations = Organization.objects.permitted(self.user)
        return list(organizations.values_list("pk", flat=True)[:MAX_OWN])

    def read(self, position: Position = BEGINNING, size: int = SHOWN) -> Page:
        """Return the newest entries after a position, `size` at most.

        Each log is read in batches, and no further than the page needs.
        """
        rows = merge(
            read_on(self.read_records, position.records, FIRST_VERSIONS),
            read_on(self.read_log_entries, position.log_entries, BATCH),
            read_on(self.read_events, position.events, BATCH),
            read_on(self.read_imports, position.imports, SHOWN),
            key=attrgetter("entry.at"),
            reverse=True,
        )
        entries: list[Entry] = []
        for number, row in enumerate(rows):
            is_same = bool(entries) and is_one_action(entries[-1], row.entry)
            is_full = len(entries) == size and not is_same
            if is_full or number == MAX_ROWS:
                return Page(entries, position)
            if is_same:
                entries[-1] = add_to_action(entries[-1])
            else:
                entries.append(row.entry)
            position = replace(position, **{row.log: row.key})
        return Page(entries, None)

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
        )

    # The log of Django's admin

    def read_log_entries(self, before: int, size: int) -> list[Row]:
        log_entries = self.select_log_entries()
        if before:
            log_entries = log_entries.filter(pk__lt=before)
        rows = list(log_entries[:size])
        # The others read only about organizations that they may view.
        hidden = self.find_hidden(rows) if self.sees_all else set()
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
            change_message__contains='"name"',
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

    # The membership log

    def read_events(self, before: int, size: int) -> list[Row]:
        events = MembershipEvent.objects.order_by("-pk")
        if before:
            events = events.filter(pk__lt=before)
        if self.gate.permits_everywhere("manage_members"):
            # What an import did is an entry of its own. Only the keys of the others are
            # in the index.
            by_hand = events
            for source in IMPORT_SOURCES:
                by_hand = by_hand.exclude(source=source)
            events = events.filter(pk__in=by_hand.values("pk")[:size])
        else:
            events = events.filter(organization_key__in=self.find_managed())
        rows = list(events.defer("reason")[:size])
        hide_platform_staff_of_several(rows, self.user)
        self.gate.learn({event.organization_key for event in rows})
        # Many events have the same text.
        kinds = {(event.event, event.role): event for event in rows}
        texts = {kind: describe_event(event) for kind, event in kinds.items()}
        return [
            Row(
                log="events",
                key=event.pk,
                entry=self.make_entry(event, texts[event.event, event.role]),
            )
            for event in rows
        ]

    def make_entry(self, event: MembershipEvent, text: str) -> Entry | None:
        if not self.gate.permits("view", event.organization_key):
            # The organization is archived.
            return None
        return make_entry(event, text)

    def find_managed(self) -> list[int] | QuerySet:
        """Return the organizations whose members the person may manage."""
        if self._own_pks is not None:
            permits = self.gate.permits
            return [pk for pk in self._own_pks if permits("manage_members", pk)]
        managed = Organization.objects.permitted(self.user, "manage_members")
        return managed.order_by().values("pk")

    # Imports

    def read_imports(self, before: int, size: int) -> list[Row]:
        if not self.user.is_superuser:
            return []
        events = AuditEvent.objects.filter(event=SecurityEvent.IMPORTED)
        if before:
            events = events.filter(pk__lt=before)
        return [
            Row("imports", event.pk, make_entry_of_import(event))
            for event in events.order_by("-at", "-pk")[:size]
        ]


def read_on(
    read: Callable[[int, int], list[Row]], before: int, size: int
) -> Iterator[VisibleRow]:
    """Yield the rows of a log that have an entry, from the key `before` on, or all.

    `read(before, size)` returns the next rows. Batches grow, because a log may have
    many rows of which the person may see nothing.
    """
    while True:
        rows = read(before, size)
        for row in rows:
            if row.entry is not None:
                yield VisibleRow(row.log, row.key, row.entry)
        if len(rows) < size:
            return
        before = rows[-1].key
        size = min(max(2 * size, BATCH), MAX_BATCH)


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


def describe_event(event: MembershipEvent) -> str:
    role = event.get_role_display()
    if event.shown_end:
        return f"{event.get_event_display()} ({role}, {event.shown_end})"
    return f"{event.get_event_display()} ({role})"


def make_entry(event: MembershipEvent, text: str) -> Entry:
    return Entry(
        at=event.at,
        text=text,
        organization_key=event.organization_key,
        name=event.organization_name,
        other=(User, event.user_key or 0),
        other_name=event.user_name,
        author_key=event.actor_key,
        author_name=event.actor_name,
        source=event.source,
        action=(event.user_name, text, event.actor_key),
    )


def describe_import(details: dict[str, Any]) -> str:
    """Return how many organizations and people an import has added or changed."""
    created = details.get("created", 0)
    changed = details.get("changed", 0)
    people = details.get("people", 0)
    texts = []
    if created:
        text = ngettext("%d organization added", "%d organizations added", created)
        texts.append(text % created)
    if changed:
        text = ngettext("%d organization changed", "%d organizations changed", changed)
        texts.append(text % changed)
    if people:
        text = ngettext("%d person got a role", "%d people got a role", people)
        texts.append(text % people)
    return ", ".join(texts) or _("Nothing was changed.")


def make_entry_of_import(event: AuditEvent) -> Entry:
    return Entry(
        at=event.at,
        text=describe_import(event.details),
        name=_("Import"),
        author_key=event.actor_key,
        author_name=event.actor_name,
    )


def add_to_action(entry: Entry) -> Entry:
    """Return the entry of an action that is about one more organization."""
    text = entry.text
    if entry.action and entry.action[0] == IMPORT:
        # The text says what was changed in one of them.
        text = _("Changed.")
    return replace(entry, text=text, number=entry.number + 1)


def is_one_action(newer: Entry, older: Entry) -> bool:
    if newer.action is None or newer.action != older.action:
        return False
    return newer.at - older.at <= AT_ONCE
