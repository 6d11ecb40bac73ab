"""What the admin's own log and the history of fields tell, and to whom; and putting back what was."""

import json
from itertools import pairwise, takewhile

from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.gate.answers import Gate
from orgadmin.models import Organization, User


def list_history(entries, model, organization, gate):
    """Return log entries about a `model`, newest first, and among those of Organization the changes of its fields.
    The log itself stores labels and texts of any field: without the right to see all it tells of others only."""
    rights = gate.permissions_on(organization.pk)
    if model is Organization:
        records = list(
            organization.history.select_related("history_user").order_by("history_id")
        )
        since = records[0].history_date if records else timezone.now()
        entries = [
            entry
            for entry in entries
            if _strip(entry, "view_confidential" in rights and since)
        ]
        entries += _list_field_changes(records, rights)
    elif "view_confidential" not in rights:
        for entry in entries:
            entry.change_message = entry.get_action_flag_display()
    hide_people(entries, organization, gate)
    return sorted(entries, key=lambda entry: entry.action_time, reverse=True)


def _list_field_changes(records, rights):
    for before, record in pairwise([None, *records]):
        text = (
            _("Added.")
            if record.history_type == "+"
            else "\n".join(describe_changes(before, record, rights))
        )
        if text:
            user = record.history_user or User(username=_("not known"))
            entry = LogEntry(
                action_time=record.history_date, user=user, change_message=text
            )
            entry.record = record
            yield entry


def describe_changes(before, after, rights):
    """Yield a line for each field in which two states of an organization differ, as far as `rights` let one see it."""
    for field in Organization.history.model.tracked_fields if before else ():
        old, new = (getattr(state, field.name) or "" for state in (before, after))
        if old != new and (
            "view_confidential" in rights or field.name not in CONFIDENTIAL_FIELDS
        ):
            text = (
                _("%(field)s: from “%(old)s” to “%(new)s”.")
                if old and new
                else _("%(field)s: “%(new)s” added.")
            )
            text = text if new else _("%(field)s: “%(old)s” removed.")
            yield text % {"field": capfirst(field.verbose_name), "old": old, "new": new}


def find_author(organization, name, user):
    """Return who changed a field of an organization to what it is, as far as `user` learns names there."""
    records = organization.history.select_related("history_user").order_by(
        "-history_id"
    )
    *_later, record = [
        None,
        *takewhile(
            lambda record: getattr(record, name) == getattr(organization, name), records
        ),
    ]
    entry = LogEntry(
        user=record and record.history_user or User(username=_("not known"))
    )
    hide_people([entry], organization, Gate(user))
    return entry.user.get_full_name() or entry.user.username


@transaction.atomic
def restore_version(organization, record, *, actor):
    """Give an organization the values of an earlier record of its history; return it as it is now.
    Raises ValidationError where they are no longer possible, such as a reference that another organization has now."""
    organization = Organization.objects.select_for_update(no_key=True).get(
        pk=organization.pk
    )
    for field in record.tracked_fields:
        setattr(organization, field.attname, getattr(record, field.attname))
    organization.full_clean(exclude=[role.key for role in ROLES])
    organization._history_user = actor
    organization.save()
    return organization


def _strip(entry, since):
    """Leave in a log entry what it says of others than its object, such as contacts; tell whether something is left.
    Texts, and entries before `since`, the beginning of the history, stay whole; without it they go."""
    if since and (entry.action_time < since or entry.change_message[:1] != "["):
        return True
    try:
        parts = json.loads(entry.change_message or "[]")
        kept = [
            part
            for part in parts
            if all(isinstance(what.get("name"), str) for what in part.values())
        ]
    except (
        ValueError,
        TypeError,
        AttributeError,
    ):  # a text, and not what Django writes
        return False
    entry.change_message = json.dumps(kept)
    return bool(kept)


def hide_people(entries, organization, gate):
    """Take from log entries the names of people that the gate's user does not learn from an organization: superusers
    learn all; with "manage_members" they name its members; platform staff, and whoever was here once, have no names."""
    if gate.user.is_superuser:
        return
    members = User.groups.through.objects.filter(
        group__in=organization.group_ids
    ).values_list("user", flat=True)
    named = set(members) if gate.permits("manage_members", organization.pk) else set()
    for entry in entries:
        if entry.user.is_staff or entry.user.is_superuser:
            entry.user = User(username=_("platform staff"))
        elif entry.user.pk and entry.user.pk not in named:
            entry.user = User(username=_("one of its admins"))
