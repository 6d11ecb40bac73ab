"""The history of organizations, limited to what each person can see.

The history combines two sources in one list:

- Records of django-simple-history contain every change of an organization's fields, no
  matter how it was made. People can restore the version of a record.
- Log entries of Django's admin contain other changes that people made in the admin,
  such as changes of contacts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Q, QuerySet, Value
from django.utils import timezone
from django.utils.translation import gettext as _

from orgadmin.access.origin import COMMAND, IMPORT
from orgadmin.gate.answers import Gate
from orgadmin.models import (
    KeptLogEntry,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.models.history import find_author as find_record_author
from orgadmin.models.validators import is_primary_key
from orgadmin.people.find_namesakes import find_named_members
from orgadmin.records.event_actors import name_for_superusers
from orgadmin.records.versions import cut_texts, describe_changes, find_versions

if TYPE_CHECKING:
    # django-simple-history creates this class at runtime, so it cannot be imported.
    HistoricalOrganization: TypeAlias = Any


ENTRIES_PER_PAGE = 50

# In the list of changes, longer values are cut to the part around the first difference.
MAX_VALUE_SHOWN = 300  # characters


@dataclass(frozen=True)
class Position:
    """Where a page begins: with entries that are older than these keys.

    None means the beginning of the list.
    """

    record: int | None = None
    log_entry: int | None = None

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that `str()` has written.

        Returns the beginning if the text is invalid.
        """
        keys = text.split("-")
        if len(keys) != 2 or not all(is_primary_key(key) for key in keys):
            return cls()
        record, log_entry = keys
        return cls(int(record) or None, int(log_entry) or None)

    def __str__(self) -> str:
        return f"{self.record or 0}-{self.log_entry or 0}"


@dataclass(frozen=True)
class HistoryPage:
    """A page of the history. `older` is where the next page begins, or None."""

    entries: list[LogEntry]
    older: Position | None


def read_history(
    log_entries: QuerySet[LogEntry],
    organization: Organization,
    gate: Gate,
    position: Position,
    limit: int = ENTRIES_PER_PAGE,
) -> HistoryPage:
    """Return a page of the history of an organization, newest first.

    The page has at most `limit` entries, and contains only what the gate's user can
    see. `log_entries` are the entries of the admin log about the organization. Versions
    are read in batches, and only the beginning of long texts.
    """
    permissions = gate.permissions_on(organization.pk)
    changes = _read_changes(organization, permissions, position.record, limit)
    others = _read_log_entries(
        log_entries, organization, permissions, position.log_entry, limit
    )
    newest_first = merge(changes, others, key=_get_time, reverse=True)
    entries = list(islice(newest_first, limit + 1))
    has_more = len(entries) > limit
    del entries[limit:]
    older = _find_end(entries, position) if has_more else None
    hide_people(entries, organization, gate)
    return HistoryPage(entries, older)


def read_whole_change(
    organization: Organization, gate: Gate, key: int
) -> LogEntry | None:
    """Return a change with complete values.

    Returns None if the user cannot see the change, or if it does not exist.
    """
    permissions = gate.permissions_on(organization.pk)
    records = find_versions(organization).select_related("history_user")
    pair = list(records.filter(history_id__lte=key).order_by("-history_id")[:2])
    if not pair or pair[0].pk != key:
        return None
    before = pair[1] if len(pair) == 2 else None
    entry = make_log_entry(before, pair[0], permissions, shown=None)
    if entry is not None:
        hide_people([entry], organization, gate)
    return entry


def show_log_entries(
    entries: Sequence[LogEntry], organization: Organization, gate: Gate
) -> None:
    """Hide what the user cannot see in entries about an object of an organization."""
    if not gate.permits("view_confidential", organization.pk):
        remove_details(entries)
    hide_people(entries, organization, gate)


def _get_time(entry: LogEntry) -> datetime:
    return entry.action_time


def _find_end(entries: Sequence[LogEntry], position: Position) -> Position:
    """Return the position after the entries of a page that begins at `position`."""
    record = position.record
    log_entry = position.log_entry
    for entry in entries:
        version = getattr(entry, "version", None)
        if version is not None:
            record = version
        else:
            log_entry = entry.pk
    return Position(record, log_entry)


def _read_log_entries(
    log_entries: QuerySet[LogEntry],
    organization: Organization,
    permissions: Collection[str],
    before: int | None,
    limit: int,
) -> Iterator[LogEntry]:
    """Yield what the admin log contains about an organization besides field changes.

    Begins with the newest entry before the key `before`. Field changes are in the
    records, which are filtered by permission.

    Some log entries have no record, for example because they are older than the field
    history. They can name or quote any field, so only people who can view confidential
    fields can see them. From all other entries, only the parts about related objects
    remain.
    """
    if "view_confidential" in permissions:
        history_began = _find_beginning(organization)
    # Most entries are only about fields. The query leaves them out.
    is_candidate = Q(change_message__contains='"name"')
    if "view_confidential" in permissions:
        is_candidate |= Q(action_time__lt=history_began)
        is_candidate |= ~Q(change_message__startswith="[")
    candidates = _read_with_kept(
        log_entries.filter(is_candidate),
        find_kept_entries(organization).filter(is_candidate),
        before,
        limit,
    )
    for entry in candidates:
        if "view_confidential" in permissions and _has_no_record(entry, history_began):
            yield entry
            continue
        parts = list_parts_about_related_objects(entry)
        if parts:
            entry.change_message = json.dumps(parts)
            yield entry


def _find_beginning(organization: Organization) -> datetime:
    """Return when the field history of an organization began."""
    records = find_versions(organization).order_by("history_id")
    dates = records.values_list("history_date", flat=True)
    return dates.first() or timezone.now()


def find_kept_entries(obj: models.Model) -> QuerySet[KeptLogEntry]:
    """Return the log entries about an object by deleted users, newest first."""
    content_type = ContentType.objects.get_for_model(type(obj))
    entries = KeptLogEntry.objects.filter(
        content_type=content_type, object_id=str(obj.pk)
    )
    return entries.order_by("-entry_key")


@dataclass(frozen=True)
class CombinedEntries:
    """The entries about an object, including entries of deleted users, sorted by time.

    A paginator slices it. A slice runs three queries, and only reads its own entries.
    """

    log_entries: QuerySet[LogEntry]
    kept_entries: QuerySet[KeptLogEntry]
    newest_first: bool

    def count(self) -> int:
        return self.log_entries.count() + self.kept_entries.count()

    def __getitem__(self, part: slice) -> list[LogEntry]:
        """Return entries in their order. Do not save entries of deleted users."""
        order = (
            ["-action_time", "-key"] if self.newest_first else ["action_time", "key"]
        )
        rows = _list_keys(self.log_entries, "pk", is_kept=False).union(
            _list_keys(self.kept_entries, "entry_key", is_kept=True), all=True
        )
        keys = [(is_kept, key) for is_kept, key, _time in rows.order_by(*order)[part]]
        entries = self._load({key for _is_kept, key in keys})
        return [entries[key] for key in keys if key in entries]

    def _load(self, keys: Collection[int]) -> dict[tuple[bool, int], LogEntry]:
        """Return {(whether its author was deleted, key): entry}."""
        entries = {}
        for entry in self.log_entries.filter(pk__in=keys):
            entries[False, entry.pk] = entry
        for kept in self.kept_entries.filter(entry_key__in=keys):
            entries[True, kept.entry_key] = kept.to_log_entry()
        return entries


def _list_keys(entries: QuerySet[Any], name: str, *, is_kept: bool) -> QuerySet[Any]:
    flag = Value(is_kept, output_field=models.BooleanField())
    keys = entries.order_by().annotate(key=F(name), is_kept=flag)
    return keys.values_list("is_kept", "key", "action_time")


def add_kept_entries(
    log_entries: QuerySet[LogEntry], obj: models.Model, *, newest_first: bool
) -> QuerySet[LogEntry] | CombinedEntries:
    """Return the entries about an object, including entries of deleted users."""
    order = "-action_time" if newest_first else "action_time"
    kept = find_kept_entries(obj)
    if not kept.exists():
        return log_entries.order_by(order, "-pk" if newest_first else "pk")
    return CombinedEntries(log_entries, kept, newest_first)


def _read_with_kept(
    log_entries: QuerySet[LogEntry],
    kept_entries: QuerySet[KeptLogEntry],
    before: int | None,
    limit: int,
) -> Iterator[LogEntry]:
    """Yield entries before a key, newest first, including entries of deleted users."""
    kept = _read_newest_first(kept_entries, "entry_key", before, limit)
    return merge(
        _read_newest_first(log_entries, "pk", before, limit),
        (entry.to_log_entry() for entry in kept),
        key=_get_pk,
        reverse=True,
    )


def _get_pk(entry: LogEntry) -> int:
    return entry.pk


def _read_newest_first(
    rows: QuerySet, key: str, before: int | None, limit: int
) -> Iterator[Any]:
    """Yield rows in descending order of their key. Reads them in batches.

    If `limit` is small, the first batch is smaller than the others: it has `limit`
    rows, one row that shows that there are more, and one row with which the last record
    is compared.
    """
    rows = rows.order_by(f"-{key}")
    size = min(limit + 2, ENTRIES_PER_PAGE)
    while True:
        older = rows if before is None else rows.filter(**{f"{key}__lt": before})
        batch = list(older[:size])
        yield from batch
        if len(batch) < size:
            return
        before = getattr(batch[-1], key)
        size = ENTRIES_PER_PAGE


def _has_no_record(entry: LogEntry, history_began: datetime) -> bool:
    """Return whether a log entry may describe changes that the field history lacks.

    This is the case for entries that are older than the field history, and for messages
    that Django did not generate.
    """
    is_generated = entry.change_message.startswith("[")
    return entry.action_time < history_began or not is_generated


def list_parts_about_related_objects(
    entry: LogEntry,
) -> list[dict[str, dict[str, Any]]]:
    """Return the parts of a log message that are about related objects.

    Related objects are those that were edited on the organization's page, such as its
    contacts. Returns an empty list for messages that other code wrote. They may quote
    any field, including confidential ones.
    """
    try:
        parts = json.loads(entry.change_message or "[]")
        return [part for part in parts if _is_about_related_object(part)]
    except (ValueError, TypeError, AttributeError):
        return []


def _is_about_related_object(part: dict[str, dict[str, Any]]) -> bool:
    """Return whether a part of a log message names an object.

    Django writes {"changed": {"fields": […]}} about the object of the page itself, and
    {"added": {"name": "contact", "object": "Eve"}} about a related object.
    """
    return all(isinstance(details.get("name"), str) for details in part.values())


def remove_details(entries: Iterable[LogEntry]) -> None:
    """Replace the messages of log entries with the kind of change, such as "Change".

    The messages may quote any field.
    """
    for entry in entries:
        entry.change_message = entry.get_action_flag_display()


def _read_changes(
    organization: Organization,
    permissions: Collection[str],
    before: int | None,
    limit: int,
) -> Iterator[LogEntry]:
    """Yield an unsaved log entry for each record that contains a visible change.

    Begins with the newest record before the key `before`. The attribute `version` of an
    entry is the key of its record.
    """
    records = cut_texts(find_versions(organization).select_related("history_user"))
    after = None
    for record in _read_newest_first(records, "history_id", before, limit):
        if after is not None:
            entry = make_log_entry(record, after, permissions)
            if entry is not None:
                yield entry
        after = record
    if after is not None:
        entry = make_log_entry(None, after, permissions)
        if entry is not None:
            yield entry


def make_log_entry(
    before: HistoricalOrganization | None,
    record: HistoricalOrganization,
    permissions: Collection[str],
    shown: int | None = MAX_VALUE_SHOWN,
) -> LogEntry | None:
    """Return a log entry for the visible changes of a record, or None without any.

    `shown` is as in `list_visible_changes()`.
    """
    lines = list_visible_changes(before, record, permissions, shown)
    if not lines:
        return None
    whole_lines = list_visible_changes(before, record, permissions, shown=None)
    entry = LogEntry(
        action_time=record.history_date,
        user=find_record_author(record) or make_stand_in(record),
        change_message="\n".join(lines),
    )
    entry.version = record.pk  # type: ignore[attr-defined]
    entry.is_import = record.history_change_reason == IMPORT  # type: ignore[attr-defined]
    entry.is_cut = lines != whole_lines  # type: ignore[attr-defined]
    return entry


def list_visible_changes(
    before: HistoricalOrganization | None,
    record: HistoricalOrganization,
    permissions: Collection[str],
    shown: int | None,
) -> list[str]:
    """Return a line for each change that the permissions make visible.

    Values with more than `shown` characters are cut. None means that no value is cut.
    """
    if record.history_type == "+":
        return [_("Added.")]
    if before is None:
        # The organization is older than its history. The first record contains the
        # values at the beginning of the history, so it is not a change.
        return []
    return describe_changes(before, record, permissions, shown)


def is_author_known(entry: LogEntry) -> bool:
    """Return whether it is known which person or command made a change."""
    is_person = entry.user.pk is not None
    return is_person or entry.user.get_username() != _("unknown")


def make_stand_in(record: HistoricalOrganization) -> User:
    """Return an unsaved user as the author of a record without a known person."""
    means = record.history_change_reason or ""
    if means.startswith(COMMAND):
        text = _("Command %(name)s")
        return User(username=text % {"name": means.removeprefix(COMMAND)})
    return User(username=_("unknown"))


def describe_author(entry: LogEntry) -> str:
    """Return who made a change, such as "Mary Major" or "Import by Mary Major".

    Call `hide_people()` first, which limits the name to what the reader can see.
    """
    name = getattr(entry, "author_label", entry.user.label_without_email)
    if getattr(entry, "is_import", False):
        return _("Import by %(name)s") % {"name": name}
    return name


def find_author(organization: Organization, field_name: str, user: User) -> str:
    """Return who gave a field of an organization its current value.

    The result is a name if the user is allowed to see it. Otherwise, it is a
    description such as "Platform staff". If the author is not known, it is "Someone".
    """
    value = getattr(organization, field_name)
    records = find_versions(organization).order_by("history_id")
    # The current value was introduced by the first record after the newest record with
    # another value. The database compares the values, because there may be many long
    # texts.
    others = records.exclude(**{field_name: value}).values_list("history_id", flat=True)
    newest_other = others.last() or 0
    introducing = records.filter(history_id__gt=newest_other).only(
        "history_user", "history_user_key", "history_user_name"
    )
    record = introducing.select_related("history_user").first()
    author = find_record_author(record) if record else None
    if author is None:
        return _("Someone")
    entry = LogEntry(user=author)
    hide_people([entry], organization, Gate(user))
    return describe_author(entry)


def _is_deleted(user: User) -> bool:
    """Return whether the user of an entry is a stand-in for a deleted user."""
    return user.pk is not None and user._state.adding


def hide_people(
    entries: Collection[LogEntry], organization: Organization, gate: Gate
) -> None:
    """Replace the authors whose names the gate's user cannot see.

    Superusers can see all names. Nobody else can see the names of platform staff.
    People who manage the organization's members can see the names of its current
    members. Sets the attribute `author_label` of the entries.
    """
    hide_people_of_several({organization: entries}, gate)


def hide_people_of_several(
    entries_by_organization: Mapping[Organization, Collection[LogEntry]],
    gate: Gate,
    members: Mapping[tuple[int, int], User] | None = None,
) -> None:
    """Replace the authors of entries about several organizations.

    The rules are those of `hide_people()`. `members` are the members of the
    organizations whose people the user manages, as `find_named_members()` returns them.
    Without `members`, this function loads them.

    Runs up to two queries, if the gate knows the permissions on the organizations.
    """
    if gate.user.is_superuser:
        _label_for_superusers(entries_by_organization)
        return
    managed = [
        organization
        for organization in entries_by_organization
        if gate.permits("manage_members", organization.pk)
    ]
    if members is None:
        members = _find_members(managed, entries_by_organization)
    former_members = _find_former_members(entries_by_organization)
    for organization, entries in entries_by_organization.items():
        for entry in entries:
            key = (organization.pk, entry.user.pk)
            is_staff = entry.user.is_staff_or_superuser
            if _is_deleted(entry.user):
                is_staff = key not in former_members
            if is_staff:
                entry.user = User(username=_("Platform staff"))
            elif entry.user.pk and key not in members:
                entry.user = User(username=_("An admin of this organization"))
            member = members.get(key)
            if member is not None:
                entry.user.has_namesake = member.has_namesake
            entry.author_label = entry.user.label_without_email  # type: ignore[attr-defined]


def _list_all(
    entries_by_organization: Mapping[Organization, Collection[LogEntry]],
) -> list[Any]:
    return [entry for entries in entries_by_organization.values() for entry in entries]


def _label_for_superusers(
    entries_by_organization: Mapping[Organization, Collection[LogEntry]],
) -> None:
    """Set the labels of authors so that they are unambiguous on the whole site."""
    for entry in _list_all(entries_by_organization):
        entry.author_label = name_for_superusers(entry.user)


def _find_members(
    organizations: Collection[Organization],
    entries_by_organization: Mapping[Organization, Collection[LogEntry]],
) -> Mapping[tuple[int, int], User]:
    """Return {(organization ID, user ID): user} for the authors who are members there.

    Runs up to one query.
    """
    authors = {entry.user.pk for entry in _list_all(entries_by_organization)}
    return find_named_members(authors, organizations)


def _find_former_members(
    entries_by_organization: Mapping[Organization, Collection[LogEntry]],
) -> set[tuple[int, int]]:
    """Return (organization ID, user key) of the deleted users who were members there.

    Runs one query if there are deleted users.
    """
    keys = set()
    for entries in entries_by_organization.values():
        keys |= {entry.user.pk for entry in entries if _is_deleted(entry.user)}
    if not keys:
        return set()
    events = MembershipEvent.objects.filter(
        organization_key__in=[row.pk for row in entries_by_organization],
        user_key__in=keys,
    )
    return {(event.organization_key, event.user_key or 0) for event in events}
