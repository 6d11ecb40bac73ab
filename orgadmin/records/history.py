"""The history of organizations, filtered by what each person may see.

It combines two sources in one list:

- Records of django-simple-history contain every change of an organization's fields, no
  matter how it was made. People can restore the version of a record.
- Log entries of Django's admin contain what people did in the admin, such as editing
  contacts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib.admin.models import LogEntry
from django.db import models, transaction
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.gate.answers import Gate
from orgadmin.models import Organization, User

if TYPE_CHECKING:
    # django-simple-history creates this class at runtime, so it cannot be imported.
    HistoricalOrganization: TypeAlias = Any


def list_history(
    entries: Iterable[LogEntry],
    model: type[models.Model],
    organization: Organization,
    gate: Gate,
) -> list[LogEntry]:
    """Return the history of an object, newest first, as the gate's user may see it.

    The object is the organization itself, or something that belongs to it. `model` is
    its class, and `entries` are the entries of the admin log about it.
    """
    permissions = gate.permissions_on(organization.pk)
    if model is Organization:
        records = list(
            organization.history.select_related("history_user").order_by("history_id")
        )
        history = _filter_log_entries(entries, records, permissions)
        history += _list_field_changes(records, permissions)
    else:
        history = list(entries)
        if "view_confidential" not in permissions:
            _remove_details(history)
    hide_people(history, organization, gate)
    return sorted(history, key=lambda entry: entry.action_time, reverse=True)


def _filter_log_entries(
    entries: Iterable[LogEntry],
    records: Sequence[HistoricalOrganization],
    permissions: Collection[str],
) -> list[LogEntry]:
    """Return what the admin log says about an organization beyond its records.

    Field changes come from the records, filtered by permission. Log entries that have
    no record, such as older ones, are not filtered and can name or quote any field. So
    only people who may view confidential fields get them as they are. From all other
    entries, only the parts about related objects are kept.
    """
    history_began = records[0].history_date if records else timezone.now()
    history = []
    for entry in entries:
        if "view_confidential" in permissions and _has_no_record(entry, history_began):
            history.append(entry)
            continue
        parts = _list_parts_about_related_objects(entry)
        if parts:
            entry.change_message = json.dumps(parts)
            history.append(entry)
    return history


def _has_no_record(entry: LogEntry, history_began: datetime) -> bool:
    """Return whether no record of the history contains what the log entry says.

    That is so for entries that are older than the history, and for messages that Django
    did not generate.
    """
    is_generated = entry.change_message.startswith("[")
    return entry.action_time < history_began or not is_generated


def _list_parts_about_related_objects(
    entry: LogEntry,
) -> list[dict[str, dict[str, Any]]]:
    """Return the parts of a log message that are about related objects.

    Related objects are those that were edited on the organization's page, such as its
    contacts. Returns nothing from a message that Django did not generate, because it
    may quote any field.
    """
    try:
        parts = json.loads(entry.change_message or "[]")
        return [part for part in parts if _is_about_related_object(part)]
    except (ValueError, TypeError, AttributeError):
        return []


def _is_about_related_object(part: dict[str, dict[str, Any]]) -> bool:
    """Return whether a part of a log message names an object.

    Django writes {"changed": {"fields": […]}} about the object of the page itself, and
    {"added": {"name": "contact", "object": "Eve"}} about a related one.
    """
    return all(isinstance(details.get("name"), str) for details in part.values())


def _remove_details(entries: Iterable[LogEntry]) -> None:
    """Replace the messages of log entries, which may quote any field.

    Only the kind of change remains, such as "Change".
    """
    for entry in entries:
        entry.change_message = entry.get_action_flag_display()


def _list_field_changes(
    records: Sequence[HistoricalOrganization], permissions: Collection[str]
) -> list[LogEntry]:
    """Return the field changes that a person may see, as entries of the admin's log.

    For each history record that contains a visible change, this makes a `LogEntry` of
    Django's admin, so that the history page can show both kinds in one list. The
    entries are never saved. Each has its record as the attribute `record`. `records`
    are those of one organization, oldest first.
    """
    entries = []
    for before, record in pairwise([None, *records]):
        if record.history_type == "+":
            text = _("Added.")
        elif before is None:
            # The organization is older than its history. The first record only says
            # what the values were when the history began, so it is not a change.
            continue
        else:
            text = "\n".join(describe_changes(before, record, permissions))
        if text:
            entry = LogEntry(
                action_time=record.history_date,
                user=record.history_user or User(username=_("unknown")),
                change_message=text,
            )
            entry.record = record  # type: ignore[attr-defined]
            entries.append(entry)
    return entries


def describe_changes(
    before: Organization | HistoricalOrganization,
    after: Organization | HistoricalOrganization,
    permissions: Collection[str],
) -> list[str]:
    """Return a line for each field that differs between two states of an organization.

    Confidential fields are left out if the permissions do not include them.
    """
    lines = []
    for field in Organization.history.model.tracked_fields:
        if field.name in CONFIDENTIAL_FIELDS and "view_confidential" not in permissions:
            continue
        old = getattr(before, field.name) or ""
        new = getattr(after, field.name) or ""
        if old != new:
            lines.append(_describe_change(field, old, new))
    return lines


def _describe_change(field: models.Field, old: Any, new: Any) -> str:
    if not old:
        text = _("%(field)s: “%(new)s” added.")
    elif not new:
        text = _("%(field)s: “%(old)s” removed.")
    else:
        text = _("%(field)s: from “%(old)s” to “%(new)s”.")
    return text % {"field": capfirst(field.verbose_name), "old": old, "new": new}


def find_author(organization: Organization, field_name: str, user: User) -> str:
    """Return who gave a field of an organization its current value.

    This is a name if the user may know it, and otherwise a description such as
    "platform staff".
    """
    records = organization.history.select_related("history_user").order_by(
        "-history_id"
    )
    # Go back, from the newest record, to the one that introduced the current value.
    author = None
    for record in records:
        if getattr(record, field_name) != getattr(organization, field_name):
            break
        author = record.history_user
    if author is None:
        return _("Someone")
    entry = LogEntry(user=author)
    hide_people([entry], organization, Gate(user))
    return entry.user.get_full_name() or entry.user.get_username()


@transaction.atomic
def restore_version(
    organization: Organization, record: HistoricalOrganization, *, actor: User
) -> Organization:
    """Give an organization the values of a record and return the organization.

    Raises `ValidationError` if the values are no longer valid, for example because
    another organization has the reference by now.
    """
    organization = Organization.objects.select_for_update(no_key=True).get(
        pk=organization.pk
    )
    for field in record.tracked_fields:
        setattr(organization, field.attname, getattr(record, field.attname))
    organization.full_clean(exclude=[role.key for role in ROLES])
    # django-simple-history writes this user into the new record.
    organization._history_user = actor  # type: ignore[attr-defined]
    organization.save()
    return organization


def hide_people(
    entries: Iterable[LogEntry], organization: Organization, gate: Gate
) -> None:
    """Replace people whose names the gate's user may not see in the entries.

    Superusers see all names. Nobody else sees the names of platform staff. People who
    may manage the organization's members see the names of its current members.
    """
    if gate.user.is_superuser:
        return
    visible_ids: set[int] = set()
    if gate.permits("manage_members", organization.pk):
        members = User.groups.through.objects.filter(group__in=organization.group_ids)
        visible_ids.update(members.values_list("user", flat=True))
    for entry in entries:
        if entry.user.is_staff or entry.user.is_superuser:
            entry.user = User(username=_("Platform staff"))
        elif entry.user.pk and entry.user.pk not in visible_ids:
            entry.user = User(username=_("An admin of this organization"))
