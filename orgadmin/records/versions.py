"""Versions of organizations in the field history: comparing and restoring them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import sha256
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, TypeAlias

from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Left
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.roles import CONFIDENTIAL_FIELDS
from orgadmin.models import Organization, User
from orgadmin.records.batches import read_in_batches

if TYPE_CHECKING:
    # django-simple-history creates this class at runtime, so it cannot be imported.
    HistoricalOrganization: TypeAlias = Any


# The history of all organizations. The attribute `Organization.history` creates a new
# manager class each time, which takes longer than most queries.
VERSIONS = Organization.history.model.objects
TRACKED_FIELDS = Organization.history.model.tracked_fields

CONTEXT = 40  # characters of a value before the first difference

# The fields that only superusers can change in the form
SUPERUSER_FIELDS = ("reference",)

# Only this part of a long text is compared and shown. The form does not accept longer
# texts.
MAX_TEXT_READ = 20_000  # characters


class ChangesDiffer(Exception):
    """Restoring a version would make changes other than those that the actor saw."""


def find_versions(organization: Organization) -> QuerySet:
    return VERSIONS.filter(id=organization.pk)


def cut_texts(records: QuerySet) -> QuerySet:
    """Read only the beginning of long texts, as "notes_start" instead of "notes"."""
    names = [
        field.name for field in TRACKED_FIELDS if isinstance(field, models.TextField)
    ]
    starts = {f"{name}_start": Left(name, MAX_TEXT_READ) for name in names}
    return records.defer(*names).annotate(**starts)


def describe_changes(
    before: Organization | HistoricalOrganization,
    after: Organization | HistoricalOrganization,
    permissions: Collection[str],
    shown: int | None = None,
    names: Collection[str] | None = None,
) -> list[str]:
    """Return a line for each field that differs between two states of an organization.

    Confidential fields are left out if the permissions do not include them. Values with
    more than `shown` characters are cut to the part around the first difference. If
    `names` is given, only these fields are compared.
    """
    lines = []
    for field in TRACKED_FIELDS:
        if field.name in CONFIDENTIAL_FIELDS and "view_confidential" not in permissions:
            continue
        if names is not None and field.name not in names:
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
    """Return the index of the first difference between two values."""
    return len(commonprefix([old, new]))


def _cut(value: str, difference: int, shown: int | None) -> str:
    """Return the part of a long value around the index `difference`."""
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


def find_restorable_fields(permissions: Collection[str], actor: User) -> list[str]:
    """Return the fields that the actor can restore from a version.

    These are the fields that they can see and change in the form.
    """
    names = []
    for field in TRACKED_FIELDS:
        is_hidden = (
            field.name in CONFIDENTIAL_FIELDS and "view_confidential" not in permissions
        )
        is_read_only = field.name in SUPERUSER_FIELDS and not actor.is_superuser
        if not (field.primary_key or is_hidden or is_read_only):
            names.append(field.name)
    return names


def describe_restoring(
    organization: Organization,
    record: HistoricalOrganization,
    permissions: Collection[str],
    actor: User,
) -> list[str]:
    """Return a line for each field that restoring a version would change."""
    names = find_restorable_fields(permissions, actor)
    return describe_changes(organization, record, permissions, names=names)


def find_kept_fields(
    organization: Organization, record: HistoricalOrganization, actor: User
) -> list[models.Field]:
    """Return the fields that differ, but that only superusers can restore.

    Returns [] for superusers. Leaves out confidential fields.
    """
    if actor.is_superuser:
        return []
    return [
        field
        for field in Organization._meta.concrete_fields
        if field.name in SUPERUSER_FIELDS
        and getattr(organization, field.name) != getattr(record, field.name)
    ]


def make_digest(lines: Iterable[str]) -> str:
    """Return a hash that identifies the changes that a person has seen."""
    return sha256("\n".join(lines).encode()).hexdigest()


@transaction.atomic
def restore_version(
    organization: Organization,
    record: HistoricalOrganization,
    *,
    actor: User,
    seen: str = "",
) -> Organization:
    """Restore the values of a record, and return the organization.

    Only restores the fields that the actor can see and change. `seen` is the digest of
    the changes that they have seen, or "" to skip this check.

    Raises `Organization.DoesNotExist` if the organization was deleted,
    `PermissionDenied` if the actor cannot change it, `ChangesDiffer` if restoring would
    make changes other than those that the actor saw, and `ValidationError` if the
    values are no longer valid, for example because another organization now has the
    reference.
    """
    organization = Organization.objects.select_for_update(no_key=True).get(
        pk=organization.pk
    )
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    if "change" not in permissions:
        raise PermissionDenied
    lines = describe_restoring(organization, record, permissions, actor)
    if seen and seen != make_digest(lines):
        raise ChangesDiffer
    changed = _set_values(
        organization, record, find_restorable_fields(permissions, actor)
    )
    if not changed:
        return organization
    fields = {field.name for field in Organization._meta.fields}
    organization.full_clean(exclude=fields.difference(changed))
    # django-simple-history writes this user into the new record.
    organization._history_user = actor  # type: ignore[attr-defined]
    organization.save(update_fields=changed)
    audit_log.record(
        SecurityEvent.VERSION_RESTORED,
        actor=actor,
        details={"organization": organization.pk, "version": record.pk},
    )
    return organization


def _set_values(
    organization: Organization, record: HistoricalOrganization, names: Iterable[str]
) -> list[str]:
    """Copy values from a record, and return the names of the fields that changed."""
    changed = []
    for name in names:
        value = getattr(record, name)
        if getattr(organization, name) != value:
            setattr(organization, name, value)
            changed.append(name)
    return changed


def continue_histories(*, using: str) -> None:
    """Add a record of the current state for deleted organizations that exist again.

    A fixture restores organizations without adding a record, and their values may
    differ from those before the deletion.
    """
    rows = Organization.objects.using(using)
    deletions = Organization.history.model.objects.using(using).filter(history_type="-")
    later_records = Organization.history.model.objects.using(using).filter(
        id=OuterRef("id"), history_id__gt=OuterRef("history_id")
    )
    ended = deletions.filter(~Exists(later_records)).values("id")
    for pks in read_in_batches(rows.filter(pk__in=ended).values_list("pk", flat=True)):
        rows.keep_history(pks, "~")
