"""Activity from the log of Django's admin."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _

from orgadmin.access.sql import placeholders
from orgadmin.models import Contact, Organization
from orgadmin.models.validators import is_primary_key
from orgadmin.people.archive import ARCHIVED, RESTORED, TRASHED
from orgadmin.records.feed.entries import Entry, Row
from orgadmin.records.feed.scope import Scope
from orgadmin.records.history import list_parts_about_related_objects

# People see the activity of at most this many contacts of their organizations: the
# newest ones.
MAX_CONTACTS = 500

# What happened to organizations as a whole. The history page shows these texts only to
# people who can see everything in an organization.
ARCHIVE_TEXTS = (ARCHIVED, RESTORED, TRASHED)

# Selects the keys of entries about organizations and their contacts. Entries about
# fields of organizations are left out, because the history has them. Only entries about
# related objects and about the archive remain. This is SQL, because PostgreSQL would
# read all entries if the subquery for contacts were one of two conditions.
OWN_ENTRIES = """
    SELECT id
    FROM django_admin_log
    WHERE content_type_id = %s
        AND object_id IN ({organizations})
        AND (change_message LIKE %s OR change_message IN ({archive_texts}))
    UNION ALL
    SELECT entry.id
    FROM (
        SELECT id
        FROM orgadmin_contact
        WHERE organization_id IN ({organizations})
        ORDER BY id DESC
        LIMIT %s
    ) contact
    JOIN django_admin_log entry
        ON entry.object_id = CAST(contact.id AS text)
        AND entry.content_type_id = %s
"""


def read_log_entries(scope: Scope, before: int, size: int) -> Iterator[Row]:
    """Yield the newest entries with a key below `before`, or of all if `before` is 0.

    Runs one query, and others that check access. Does not load the authors.
    """
    log_entries = select_log_entries(scope)
    if before:
        log_entries = log_entries.filter(pk__lt=before)
    rows = list(log_entries[:size])
    # For everyone else, the query only selects organizations that they can view.
    hidden = find_hidden(scope, rows) if scope.sees_all else set()
    scope.gate.learn(find_archive_keys(rows))
    for log_entry in rows:
        entry = None
        if log_entry.pk not in hidden:
            entry = make_entry_of_log_entry(scope, log_entry)
        yield Row("log_entries", log_entry.pk, entry)


def find_hidden(scope: Scope, log_entries: Collection[LogEntry]) -> set[int]:
    """Return the keys of log entries about archived organizations.

    This is only needed for people who can view all organizations. For other people,
    the query leaves out such entries.
    """
    organizations_by_entry = find_organizations(log_entries)
    scope.gate.learn(set(organizations_by_entry.values()))
    return {
        key
        for key, organization in organizations_by_entry.items()
        if not scope.gate.permits("view", organization)
    }


def select_log_entries(scope: Scope) -> QuerySet[LogEntry]:
    """Return the log entries that the person may be able to see, newest first.

    Superusers see all. People who can view all organizations see entries about
    organizations and contacts, of which `find_hidden()` finds those to hide.
    """
    rows = LogEntry.objects.order_by("-pk")
    if scope.user.is_superuser:
        return rows
    if scope.sees_all:
        return rows.filter(
            content_type__in=[find_type(Organization), find_type(Contact)]
        )
    if not scope.own_pks:
        return rows.none()
    organizations = placeholders(scope.own_pks)
    statement = OWN_ENTRIES.format(
        organizations=organizations, archive_texts=placeholders(ARCHIVE_TEXTS)
    )
    parameters: list[Any] = [
        find_type(Organization).pk,
        *(str(pk) for pk in scope.own_pks),
        '%"name"%',
        *ARCHIVE_TEXTS,
        *scope.own_pks,
        MAX_CONTACTS,
        find_type(Contact).pk,
    ]
    return rows.filter(pk__in=RawSQL(statement, parameters))


def make_entry_of_log_entry(scope: Scope, log_entry: LogEntry) -> Entry | None:
    """Return the feed's entry for a log entry.

    Returns None if another log has an entry about the same change, or if the object is
    not known.
    """
    model = find_model(log_entry)
    key = log_entry.object_id or ""
    if model is None or not key.isdecimal():
        return None
    if is_about_archive(log_entry):
        return make_entry_of_archiving(scope, log_entry, int(key))
    if model is Organization:
        # The history has the changes of fields.
        parts = list_parts_about_related_objects(log_entry)
        if not parts:
            return None
        log_entry.change_message = json.dumps(parts)
    entry = Entry(at=log_entry.action_time, text="", log_entry=log_entry)
    name = log_entry.object_repr
    if model is Organization:
        return replace(entry, organization_key=int(key), name=name)
    return replace(entry, other=(model, int(key)), other_name=name)


def make_entry_of_archiving(
    scope: Scope, log_entry: LogEntry, key: int
) -> Entry | None:
    """Return the entry about an organization that was archived or restored.

    Returns None if the person cannot see it, or if the audit log has an entry for them.
    """
    if scope.user.is_superuser:
        # There is an entry from the audit log, even if many were archived at once.
        return None
    if not scope.gate.permits("view_confidential", key):
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


def find_type(model: type) -> ContentType:
    return ContentType.objects.get_for_model(model)


def find_organizations(log_entries: Collection[LogEntry]) -> dict[int, int]:
    """Return {key of a log entry: key of its organization}.

    Leaves out entries about people and about deleted contacts. Runs a query if there
    are contacts.
    """
    # {model: {key of a log entry: key of the object that it is about}}
    keys_by_model: dict[type | None, dict[int, int]] = defaultdict(dict)
    for log_entry in log_entries:
        key = log_entry.object_id or ""
        if is_primary_key(key):
            keys_by_model[find_model(log_entry)][log_entry.pk] = int(key)
    contacts = keys_by_model[Contact]
    found = keys_by_model[Organization]
    if contacts:
        rows = Contact.objects.filter(pk__in=set(contacts.values())).order_by()
        organizations_by_contact = dict(rows.values_list("pk", "organization"))
        for log_key, contact in contacts.items():
            if contact in organizations_by_contact:
                found[log_key] = organizations_by_contact[contact]
    return found


def is_about_archive(log_entry: LogEntry) -> bool:
    """Return whether a log entry says that an organization was archived or restored."""
    if find_model(log_entry) is not Organization:
        return False
    return log_entry.change_message in ARCHIVE_TEXTS


def find_archive_keys(log_entries: Collection[LogEntry]) -> set[int]:
    """Return the keys of the organizations that were archived or restored."""
    return {
        int(log_entry.object_id or "")
        for log_entry in log_entries
        if is_about_archive(log_entry) and is_primary_key(log_entry.object_id or "")
    }


def find_model(log_entry: LogEntry) -> type | None:
    """Return the model of the object in a log entry, or None if it is not known."""
    if log_entry.content_type_id is None:
        return None
    # Django caches content types.
    content_type = ContentType.objects.get_for_id(log_entry.content_type_id)
    return content_type.model_class()
