"""Bulk changes that take too long for a request: a worker makes them.

The worker makes the whole change, and marks the job as done, in one transaction. If the
worker is killed before the commit, nothing is changed, and the job runs again. If it is
killed after the commit, the job is marked as done and does not run again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django_tasks import TaskContext, task

from orgadmin.access.batches import split_into_batches
from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.access.rule import is_active_superuser
from orgadmin.models import BulkJob, Organization, User
from orgadmin.models.guards import LastAdminError, LastSuperuserError
from orgadmin.people import outbox
from orgadmin.people.bulk import (
    BulkChange,
    EndAccess,
    GiveRole,
    PlanChanged,
    ReplacePerson,
    TooManyChanges,
    carry_out,
)
from orgadmin.people.find_organizations import COLUMNS
from orgadmin.people.held_roles import BATCH
from orgadmin.people.membership import EndInThePast
from orgadmin.people.succession import SuccessionRefused

# Bulk changes of more roles than this are made by a worker.
MAX_ROLES_AT_ONCE = 2_000

REFUSALS = (
    EndInThePast,
    LastAdminError,
    LastSuperuserError,
    ObjectDoesNotExist,
    PermissionDenied,
    PlanChanged,
    SuccessionRefused,
    TooManyChanges,
)


def start(
    change: BulkChange,
    *,
    actor: User,
    number: int,
    seen: str,
    reason: str = "",
    confirmed: Collection[int] = (),
    successors: Mapping[int, User] | None = None,
) -> BulkJob:
    """Queue a change, which a worker makes after the current transaction's commit.

    `number` is how many roles will change. The other arguments are as in `carry_out()`.
    """
    order = {
        "change": serialize_change(change),
        "seen": seen,
        "reason": reason,
        "confirmed": sorted(confirmed),
        "successors": [[pk, user.pk] for pk, user in (successors or {}).items()],
    }
    job = BulkJob.objects.create(
        actor_key=actor.pk, kind=change.kind, order=order, number=number
    )
    # Urgent, because someone is waiting for the result.
    urgent = run_bulk_change.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, job=job.pk)
    return job


@task(takes_context=True)
def run_bulk_change(context: TaskContext, *, job: int, language: str) -> None:
    """Make a queued bulk change, or store why it cannot be made."""
    stored = BulkJob.objects.filter(pk=job, finished_at=None)
    if not stored.update(state=BulkJob.State.WORKING, started_at=timezone.now()):
        return
    with translation.override(language):
        try:
            make_change(job)
        except REFUSALS as error:
            stored.update(
                state=BulkJob.State.REFUSED,
                refusal=explain_refusal(error),
                finished_at=timezone.now(),
                order={},
            )


@transaction.atomic
def make_change(pk: int) -> None:
    """Make the change of a job, unless another worker has made it.

    Raises one of REFUSALS if the change is not possible.
    """
    jobs = BulkJob.objects.select_for_update()
    job = jobs.filter(pk=pk, finished_at=None).first()
    if job is None:
        return
    actor = User.objects.get(pk=job.actor_key)
    if not is_active_superuser(actor):
        raise PermissionDenied
    order = job.order
    result = carry_out(
        deserialize_change(order["change"]),
        actor=actor,
        seen=order["seen"],
        reason=order["reason"],
        confirmed=order["confirmed"],
        successors=load_successors(order["successors"]),
    )
    job.state = BulkJob.State.DONE
    job.changed = result.changed
    job.skipped = result.skipped
    job.finished_at = timezone.now()
    job.order = {}
    job.save()


def explain_refusal(error: Exception) -> str:
    """Return why one of REFUSALS was raised, as a text for the actor."""
    if isinstance(error, (LastSuperuserError, SuccessionRefused)):
        return str(error)
    if isinstance(error, PermissionDenied):
        return _("You are no longer platform staff.")
    return _(
        "Something has changed since you saw the preview. Enter the change again, and"
        " read the new preview."
    )


# Storing a change as IDs


def serialize_change(change: BulkChange) -> dict[str, Any]:
    """Return a change as JSON values, for `deserialize_change()`."""
    described: dict[str, Any] = {
        "kind": change.kind,
        "users": [user.pk for user in change.list_people()],
    }
    match change:
        case GiveRole():
            described["role"] = change.role.key
            described["ends_at"] = store_time(change.ends_at)
            described["organizations"] = [row.pk for row in change.organizations]
            described["emails"] = list(change.emails)
        case ReplacePerson():
            described["ends"] = change.ends_old_roles
        case EndAccess():
            described["offboards"] = change.offboards
            described["ends_at"] = store_time(change.ends_at)
    return described


def deserialize_change(described: Mapping[str, Any]) -> BulkChange:
    """Return a stored change.

    Raises `PlanChanged` if one of its rows is missing, or if this release does not know
    the role.
    """
    users = load_in_order(User.objects.all(), described["users"])
    if described["kind"] == GiveRole.kind:
        rows = Organization.objects.unarchived().only(*COLUMNS).order_by()
        organizations = load_in_order(rows, described["organizations"])
        role = ROLES_BY_KEY.get(described["role"])
        if role is None:
            raise PlanChanged
        # Jobs of the previous release do not have addresses.
        emails = tuple(described.get("emails", ()))
        return GiveRole(users, organizations, role, read_time(described), emails)
    if described["kind"] == ReplacePerson.kind:
        return ReplacePerson(users[0], users[1], described["ends"])
    return EndAccess(users, described["offboards"], read_time(described))


def store_time(ends_at: datetime | None) -> str | None:
    return ends_at.isoformat() if ends_at is not None else None


def read_time(described: Mapping[str, Any]) -> datetime | None:
    text = described["ends_at"]
    return datetime.fromisoformat(text) if text else None


def load_successors(pairs: Collection[tuple[int, int]]) -> dict[int, User]:
    """Return {organization ID: user} for the stored pairs of IDs."""
    keys = list(dict.fromkeys(key for _pk, key in pairs))
    users = {user.pk: user for user in load_in_order(User.objects.all(), keys)}
    return {pk: users[key] for pk, key in pairs}


def load_in_order(rows: Any, pks: Collection[int]) -> list[Any]:
    """Return rows in the order of `pks`. Raises `PlanChanged` if one is missing."""
    found: dict[int, Any] = {}
    for batch in split_into_batches(pks, BATCH):
        found.update({row.pk: row for row in rows.filter(pk__in=batch)})
    if len(found) < len(set(pks)):
        raise PlanChanged
    return [found[pk] for pk in pks]
