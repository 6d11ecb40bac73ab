"""Archives organizations, restores them, and deletes them from the trash.

An archived organization keeps its groups, members, invitations and history, but the
access rule gives nobody a permission on it. When it is restored, its members have
access again. An archived organization can be moved to the trash. The worker deletes it
permanently after TRASH_DAYS.

In all code, including this module, `delete()` of an organization deletes it
permanently.
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

# Messages in Django's admin log.
ARCHIVED = _("Archived.")
RESTORED = _("Restored from the archive.")
TRASHED = _("Moved to the trash.")

# How many organizations the worker deletes in one transaction.
BATCH = 100


@transaction.atomic
def archive(pks: Collection[int], *, actor: User | None) -> list[Organization]:
    """Archive organizations, and return those that were not archived before.

    Until they are restored, nobody has a permission on them, and only superusers can
    see them, on the pages of archived organizations. Raises `PermissionDenied` if the
    actor lacks the permission to delete one of them. `actor` is None for a command. The
    audit log gets one event for all of them.
    """
    organizations = _lock(Organization.objects.unarchived().filter(pk__in=pks))
    _check_may_archive(actor, organizations)
    _mark("archived", organizations, actor)
    _log(SecurityEvent.ORGANIZATIONS_ARCHIVED, ARCHIVED, organizations, actor=actor)
    return organizations


@transaction.atomic
def restore(pks: Collection[int], *, actor: User | None) -> list[Organization]:
    """Restore archived organizations, so that their members have access again.

    Returns the organizations that were archived, including those in the trash. Raises
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
    """Move archived organizations to the trash, and return them.

    Leaves out organizations that are not archived, or already in the trash. Raises
    `PermissionDenied` unless the actor is a superuser.
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
    """Delete archived organizations permanently, and return their names.

    Leaves out organizations that are not archived, for example because someone has
    restored them in the meantime. Raises `PermissionDenied` unless the actor is a
    superuser.
    """
    organizations = _lock(Organization.objects.archived().filter(pk__in=pks))
    _check_is_superuser(actor)
    _delete(organizations, actor)
    return [organization.name for organization in organizations]


def purge_trash() -> int:
    """Delete organizations that were trashed at least TRASH_DAYS ago.

    Returns their number. Each batch is deleted in its own transaction. Several workers
    can run this at the same time. If a worker is killed, the next call deletes the
    rest.
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
    """Return when an organization that was trashed at a time, or now, is deleted.

    The worker deletes it at this time, or up to about an hour later.
    """
    return (trashed_at or timezone.now()) + timedelta(days=settings.TRASH_DAYS)


@transaction.atomic
def free_reference(reference: str, *, actor: User) -> None:
    """Remove a reference from an archived organization, so that another can use it.

    Does nothing if no archived organization has the reference. Otherwise, raises
    `PermissionDenied` unless the actor is a superuser.
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
    """Delete up to BATCH organizations that are due, and return their IDs."""
    before = timezone.now() - timedelta(days=settings.TRASH_DAYS)
    due = Organization.objects.archived().filter(trashed_at__lte=before)
    # Locks the rows first. A row that someone restores at the same time no longer
    # matches once it is locked. Rows that another worker has locked are skipped.
    locked = due.order_by("trashed_at").select_for_update(skip_locked=True)
    pks = list(locked.values_list("pk", flat=True)[:BATCH])
    if pks:
        Organization.objects.filter(pk__in=pks).delete()
    return pks


def _lock(organizations: models.QuerySet[Organization]) -> list[Organization]:
    """Lock organizations in the order of their IDs, and return them as stored.

    Other transactions that archive, restore or change one of them wait.
    """
    return list(organizations.order_by("pk").select_for_update(no_key=True))


def _delete(organizations: Sequence[Organization], actor: User | None) -> None:
    pks = [organization.pk for organization in organizations]
    Organization.objects.filter(pk__in=pks).delete(actor=actor)


def _check_may_archive(
    actor: User | None, organizations: Iterable[Organization]
) -> None:
    """Raise `PermissionDenied` if the actor may not delete one of them.

    Loads the actor again, because their permissions may have changed.
    """
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
        raise PermissionDenied("Only superusers can change archived organizations.")


def _mark(
    action: str, organizations: Sequence[Organization], actor: User | None
) -> None:
    """Store that organizations were archived or trashed now, and by whom."""
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
    Organization.objects.write_without_history(pks, values)


def _log(
    event: SecurityEvent,
    text: str,
    organizations: Sequence[Organization],
    *,
    actor: User | None,
) -> None:
    """Record an event in the audit log, and in Django's admin log of each organization.

    Without an actor, records it only in the audit log. Does nothing for no
    organizations.
    """
    if not organizations:
        return
    pks = [organization.pk for organization in organizations]
    record(event, actor=actor, details={"organizations": pks})
    if actor is not None:
        LogEntry.objects.log_actions(
            actor.pk, organizations, CHANGE, change_message=text
        )
