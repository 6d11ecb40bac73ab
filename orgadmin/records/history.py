"""The history of organizations, as far as each reader may see it; restoring a version.

Two sources are shown as one list. The records of django-simple-history contain every
change of an organization's fields, however it was made. Django's admin log contains
what people did in the admin, such as editing contacts.
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
    # The class that django-simple-history makes has no name that could be imported.
    HistoricalOrganization: TypeAlias = Any


def list_history(
    entries: Iterable[LogEntry],
    model: type[models.Model],
    organization: Organization,
    gate: Gate,
) -> list[LogEntry]:
    """Return the history of an object, newest first, as the gate's user may see it.

    `entries` are the entries of the admin log about the object. It is of class `model`:
    the organization itself, or something that belongs to it.
    """
    permissions = gate.permissions_on(organization.pk)
    if model is Organization:
        history = _list_organization_history(entries, organization, permissions)
    else:
        history = list(entries)
        if "view_confidential" not in permissions:
            _remove_details(history)
    hide_people(history, organization, gate)
    return sorted(history, key=lambda entry: entry.action_time, reverse=True)


def _list_organization_history(
    entries: Iterable[LogEntry],
    organization: Organization,
    permissions: Collection[str],
) -> list[LogEntry]:
    records = list(
        organization.history.select_related("history_user").order_by("history_id")
    )
    began = records[0].history_date if records else timezone.now()
    history = []
    for entry in entries:
        if "view_confidential" in permissions and _is_only_in_log(entry, began):
            history.append(entry)
            continue
        parts = _find_parts_about_others(entry)
        if parts:
            entry.change_message = json.dumps(parts)
            history.append(entry)
    return history + _list_field_changes(records, permissions)


def _is_only_in_log(entry: LogEntry, began: datetime) -> bool:
    """Return whether the history of fields, which began then, cannot say the same.

    That is the case for older entries, and for text that Django did not generate.
    """
    return entry.action_time < began or not entry.change_message.startswith("[")


def _find_parts_about_others(entry: LogEntry) -> list[dict[str, dict[str, Any]]]:
    """Return what a log entry says about other objects than its own, such as contacts.

    The history of fields says the rest. Nothing is returned from a text that Django did
    not generate: it may quote any field.
    """
    try:
        parts = json.loads(entry.change_message or "[]")
        return [part for part in parts if _is_about_other_object(part)]
    except (ValueError, TypeError, AttributeError):
        return []


def _is_about_other_object(part: dict[str, dict[str, Any]]) -> bool:
    """Return whether a part of a log message names an object.

    Django writes {"changed": {"fields": […]}} about the object of the page itself, and
    {"added": {"name": "contact", "object": "Eve"}} about another one.
    """
    return all(isinstance(details.get("name"), str) for details in part.values())


def _remove_details(entries: Iterable[LogEntry]) -> None:
    """Leave only the kind of change in log entries: messages may quote any field."""
    for entry in entries:
        entry.change_message = entry.get_action_flag_display()


def _list_field_changes(
    records: Sequence[HistoricalOrganization], permissions: Collection[str]
) -> list[LogEntry]:
    """Return an unsaved log entry, with its `record`, for each change that is visible.

    `records` are those of one organization, oldest first.
    """
    entries = []
    for before, record in pairwise([None, *records]):
        if record.history_type == "+":
            text = _("Added.")
        elif before is None:
            # The history began when the organization already existed.
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

    That is a name if the user may know it, and a description of the person otherwise.
    """
    records = organization.history.select_related("history_user").order_by(
        "-history_id"
    )
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
    """Give an organization the values of a record of its history, and return it.

    Raises `ValidationError` if the values are no longer possible: another organization
    may have the reference by now.
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
    """Replace the people in log entries whose names the gate's user may not see.

    Superusers see all names. Other people never see the names of platform staff. They
    see those of the organization's current members if they may manage members there.
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
