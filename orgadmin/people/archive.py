"""Archives organizations, restores them, and deletes those in the trash.

An archived organization keeps its groups, members, invitations and history, but the
access rule gives nobody access to it. Restoring it gives all of this back. An archived
one can be moved to the trash, from which a task deletes it after TRASH_DAYS.

`delete()` of an organization is what deletes it for good, here and in any other code.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.utils import timezone

# The log stores what was done in English. It is translated where it is shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import Organization, User
from orgadmin.models.guards import is_still_superuser
from orgadmin.models.organization_queryset import ARCHIVE_FIELDS

logger = logging.getLogger("orgadmin.archive")

# What Django's admin log says of an organization.
ARCHIVED = _("Archived.")
RESTORED = _("Restored from the archive.")
TRASHED = _("Moved to the trash.")

# How many organizations the task deletes in one transaction.
BATCH = 100


@transaction.atomic
def archive(pks: Collection[int], *, actor: User | None) -> list[Organization]:
    """Archive organizations, and return those that were not archived before.

    Nobody has access to them from now on. Raises `PermissionDenied` if the actor may
    not delete one of them. `actor` is None for a command.
    """
    organizations = _lock(Organization.objects.unarchived().filter(pk__in=pks))
    _check_may_archive(actor, organizations)
    _mark("archived", organizations, actor)
    _log(SecurityEvent.ORGANIZATIONS_ARCHIVED, ARCHIVED, organizations, actor=actor)
    return organizations


@transaction.atomic
def restore(pks: Collection[int], *, actor: User | None) -> list[Organization]:
    """Give the members of archived organizations their access again.

    Returns those that were archived, also if they were in the trash. Raises
    `PermissionDenied` unless the actor is a superuser.
    """
    organizations = _lock(Organization.objects.archived().filter(pk__in=pks))
    _check_is_superuser(actor)
    _write(organizations, dict.fromkeys(ARCHIVE_FIELDS))
    _log(
        SecurityEvent.ORGANIZATIONS_RESTORED,
        RESTORED,
        organizations,
        actor=actor,
    )
    return organizations


@transaction.atomic
def move_to_trash(pks: Collection[int], *, actor: User | None) -> list[Organization]:
    """Have archived organizations deleted after TRASH_DAYS, and return them.

    Those that are in the trash already stay as they are. Raises `PermissionDenied`
    unless the actor is a superuser.
    """
    archived = Organization.objects.archived().filter(pk__in=pks, trashed_at=None)
    organizations = _lock(archived)
    _check_is_superuser(actor)
    _mark("trashed", organizations, actor)
    _log(
        SecurityEvent.ORGANIZATIONS_TRASHED,
        TRASHED,
        organizations,
        actor=actor,
    )
    return organizations


@transaction.atomic
def delete_permanently(pks: Collection[int], *, actor: User | None) -> list[str]:
    """Delete archived organizations for good, and return their names.

    Others are left out: someone has restored them in the meantime. Raises
    `PermissionDenied` unless the actor is a superuser.
    """
    organizations = _lock(Organization.objects.archived().filter(pk__in=pks))
    _check_is_superuser(actor)
    _delete(organizations, actor)
    return [organization.name for organization in organizations]


def purge_trash() -> int:
    """Delete what has been in the trash for TRASH_DAYS. Returns how many there were.

    Each batch is a transaction of its own. Several workers can do this at a time, and
    each can be killed: the next one continues.
    """
    number = 0
    while True:
        deleted = _purge_batch()
        if not deleted:
            return number
        number += len(deleted)
        logger.info(
            "Deleted %d organizations from the trash.",
            len(deleted),
            extra={"organization_keys": deleted},
        )


def find_deletion_time(trashed_at: datetime | None = None) -> datetime:
    """Return when the task deletes what was moved to the trash at a time, or now."""
    return (trashed_at or timezone.now()) + timedelta(days=settings.TRASH_DAYS)


@transaction.atomic
def free_reference(reference: str, *, actor: User) -> None:
    """Take the reference of an archived organization away, so another one can have it.

    Does nothing if no archived organization has it. Raises `PermissionDenied` unless
    the actor is a superuser.
    """
    for organization in _lock(
        Organization.objects.archived().filter(reference=reference)
    ):
        _check_is_superuser(actor)
        organization._history_user = actor  # type: ignore[attr-defined]
        organization.reference = None
        organization.save(update_fields=["reference"])


@transaction.atomic
def _purge_batch() -> list[int]:
    before = timezone.now() - timedelta(days=settings.TRASH_DAYS)
    due = Organization.objects.archived().filter(trashed_at__lte=before)
    # Locks before anything is deleted: a row that someone restores at the same time no
    # longer matches once the lock is there. Rows of other workers are skipped.
    locked = due.order_by("trashed_at").select_for_update(skip_locked=True)
    pks = list(locked.values_list("pk", flat=True)[:BATCH])
    if pks:
        Organization.objects.filter(pk__in=pks).delete()
    return pks


def _lock(organizations: models.QuerySet[Organization]) -> list[Organization]:
    """Lock organizations, in the order of their keys, and return them as stored.

    Whoever restores, archives or changes one of them at the same time waits.
    """
    return list(organizations.order_by("pk").select_for_update(no_key=True))


def _delete(organizations: Sequence[Organization], actor: User | None) -> None:
    pks = [organization.pk for organization in organizations]
    Organization.objects.filter(pk__in=pks).delete(actor=actor)


def _check_may_archive(
    actor: User | None, organizations: Iterable[Organization]
) -> None:
    """Raise `PermissionDenied` if the actor, as stored, may not delete one of them."""
    if actor is None:
        return
    stored = User.objects.filter(pk=actor.pk).first()
    pks = [organization.pk for organization in organizations]
    if stored is None:
        raise PermissionDenied("The person who archives this does not exist.")
    permissions = Organization.objects.permissions_on_each(stored, pks)
    if not all("delete" in permissions[pk] for pk in pks):
        raise PermissionDenied("You cannot archive this organization.")


def _check_is_superuser(actor: User | None) -> None:
    if actor is not None and not is_still_superuser(actor):
        raise PermissionDenied("Only superusers may change what is archived.")


def _mark(
    action: str, organizations: Sequence[Organization], actor: User | None
) -> None:
    """Note that organizations were archived or trashed now, and by whom."""
    _write(
        organizations,
        {
            f"{action}_at": timezone.now(),
            f"{action}_by_key": actor.pk if actor else None,
            f"{action}_by_name": actor.get_username() if actor else None,
        },
    )


def _write(organizations: Sequence[Organization], values: dict[str, Any]) -> None:
    pks = [organization.pk for organization in organizations]
    Organization.objects.write_kept(pks, values)


def _log(
    event: SecurityEvent,
    text: str,
    organizations: Sequence[Organization],
    *,
    actor: User | None,
) -> None:
    """Record an event in the audit log, and in the history of each organization."""
    if not organizations:
        return
    pks = [organization.pk for organization in organizations]
    record(event, actor=actor, details={"organizations": pks})
    if actor is not None:
        LogEntry.objects.log_actions(
            actor.pk, organizations, CHANGE, change_message=text
        )
