"""Versions of organizations in the field history: comparing and restoring them."""

from __future__ import annotations

from collections.abc import Collection
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import models, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Left
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.models import Organization, User
from orgadmin.records.batches import read_in_batches

if TYPE_CHECKING:
    # django-simple-history creates this class at runtime, so it cannot be imported.
    HistoricalOrganization: TypeAlias = Any


CONTEXT = 40  # characters of a value before the first difference

# A longer text is compared and shown up to here. Texts of today's forms are not longer.
READ = 20_000  # characters


def cut_texts(records: QuerySet) -> QuerySet:
    """Read long texts up to READ only, as "notes_start" instead of "notes"."""
    for field in Organization.history.model.tracked_fields:
        if isinstance(field, models.TextField):
            start = {f"{field.name}_start": Left(field.name, READ)}
            records = records.defer(field.name).annotate(**start)
    return records


def describe_changes(
    before: Organization | HistoricalOrganization,
    after: Organization | HistoricalOrganization,
    permissions: Collection[str],
    shown: int | None = None,
) -> list[str]:
    """Return a line for each field that differs between two states of an organization.

    Confidential fields are left out if the permissions do not include them. Values that
    are longer than `shown` are cut, around the first difference.
    """
    lines = []
    for field in Organization.history.model.tracked_fields:
        if field.name in CONFIDENTIAL_FIELDS and "view_confidential" not in permissions:
            continue
        old = _get_value(before, field.name)
        new = _get_value(after, field.name)
        if old != new:
            start = _find_difference(old, new)
            old_shown = _cut(old, start, shown)
            new_shown = _cut(new, start, shown)
            lines.append(_describe_change(field, old_shown, new_shown))
    return lines


def _get_value(state: Organization | HistoricalOrganization, name: str) -> str:
    start = getattr(state, f"{name}_start", None)
    return getattr(state, name) or "" if start is None else start


def _find_difference(old: str, new: str) -> int:
    """Return where two values begin to differ."""
    return len(commonprefix([old, new]))


def _cut(value: str, difference: int, shown: int | None) -> str:
    """Return the part of a long value around its first difference from another."""
    if shown is None or len(value) <= shown:
        return value
    start = max(0, min(difference - CONTEXT, len(value) - shown))
    end = start + shown
    before = "…" if start else ""
    after = "…" if end < len(value) else ""
    return f"{before}{value[start:end]}{after}"


def _describe_change(field: models.Field, old: str, new: str) -> str:
    if not old:
        text = _("%(field)s: “%(new)s” added.")
    elif not new:
        text = _("%(field)s: “%(old)s” removed.")
    else:
        text = _("%(field)s: from “%(old)s” to “%(new)s”.")
    return text % {"field": capfirst(field.verbose_name), "old": old, "new": new}


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
    audit_log.record(
        SecurityEvent.VERSION_RESTORED,
        actor=actor,
        details={"organization": organization.pk, "version": record.pk},
    )
    return organization


def continue_histories(*, using: str) -> None:
    """Add the present state of deleted organizations that exist again.

    A fixture brings them back without a record, and they may have changed since.
    """
    rows = Organization.objects.using(using)
    deletions = Organization.history.model.objects.using(using).filter(history_type="-")
    later_records = Organization.history.model.objects.using(using).filter(
        id=OuterRef("id"), history_id__gt=OuterRef("history_id")
    )
    ended = deletions.filter(~Exists(later_records)).values("id")
    for pks in read_in_batches(rows.filter(pk__in=ended).values_list("pk", flat=True)):
        rows.keep_history(pks, "~")
