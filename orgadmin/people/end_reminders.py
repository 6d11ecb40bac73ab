"""Decides who is reminded of access that ends soon, once per end of a membership."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django_tasks.base import Task

from orgadmin.access.roles import ADMIN, ROLES
from orgadmin.access.sql import read_clock
from orgadmin.models import EndReminder, Membership, Organization
from orgadmin.people import outbox
from orgadmin.people.end_mail import (
    MAX_ENDS,
    EndKeys,
    remind_admin,
    remind_member,
    warn_superuser,
)
from orgadmin.people.ends import SOON, loses_last_admin
from orgadmin.people.held_roles import find_group_owners
from orgadmin.people.mail import find_admins, find_recipients
from orgadmin.people.security_mail import list_superusers

BATCH = 500  # memberships in one transaction


def remind_of_ends() -> int:
    """Queue reminders of memberships that end within SOON.

    Returns the number of memberships. Each end is reminded of only once. Skips archived
    organizations, and memberships that another transaction has locked. Each batch is
    one transaction, so that no reminder is lost or sent twice if the worker is killed.
    """
    now = read_clock()
    EndReminder.objects.filter(ends_at__lte=now).delete()
    number = 0
    while True:
        try:
            reminded = _remind_of_batch(now + SOON)
        except IntegrityError:
            # Another worker is handling the same ends.
            return number
        number += reminded
        if reminded < BATCH:
            return number


@transaction.atomic
def _remind_of_batch(until: datetime) -> int:
    """Queue reminders of up to BATCH memberships, and return their number.

    Without NOTIFY_PEOPLE, only records the memberships, and queues no emails.
    """
    locked = _find_due(until).select_for_update(of=("self",), skip_locked=True)
    rows = list(locked.order_by("pk")[:BATCH])
    reminders = [
        EndReminder(user_key=row.user_id, group_key=row.group_id, ends_at=row.ends_at)
        for row in rows
        if row.ends_at is not None
    ]
    EndReminder.objects.bulk_create(reminders)
    if rows and settings.NOTIFY_PEOPLE:
        _add_mail(rows, until)
    return len(rows)


def _find_due(until: datetime) -> QuerySet[Membership]:
    """Return the memberships that end by `until` without a reminder so far.

    Leaves out archived organizations, because nobody has access to them.
    """
    reminders = EndReminder.objects.filter(
        user_key=OuterRef("user"),
        group_key=OuterRef("group"),
        ends_at=OuterRef("ends_at"),
    )
    due = Membership.objects.current().filter(~Exists(reminders), ends_at__lte=until)
    archived = Organization.objects.archived().order_by()
    for role in ROLES:
        due = due.exclude(group__in=archived.values(role.key))
    return due


def _add_mail(rows: Sequence[Membership], until: datetime) -> None:
    """Queue the emails to members, admins and superusers about these memberships."""
    owners = find_group_owners({row.group_id for row in rows})
    # Leave out groups that do not belong to an organization.
    rows = [row for row in rows if row.group_id in owners]
    admins = find_admins({owner.organization.pk for owner in owners.values()})
    willing = set(
        find_recipients("mail_own_roles")
        .filter(pk__in={row.user_id for row in rows})
        .values_list("pk", flat=True)
    )
    own: dict[int, list[EndKeys]] = defaultdict(list)
    others: dict[int, list[EndKeys]] = defaultdict(list)
    for row in rows:
        keys = describe_keys(row)
        if row.user_id in willing:
            own[row.user_id].append(keys)
        organization = owners[row.group_id].organization
        for pk in admins[organization.pk] - {row.user_id}:
            others[pk].append(keys)
    _enqueue(remind_member, own)
    _enqueue(remind_admin, others)
    _warn_superusers(rows, until)


def _warn_superusers(rows: Iterable[Membership], until: datetime) -> None:
    """Queue emails about organizations that lose their last active admin by `until`."""
    group_ids = {row.group_id for row in rows}
    losing = Organization.objects.filter(
        loses_last_admin(until), **{f"{ADMIN.key}__in": group_ids}
    )
    pks = sorted(losing.order_by().values_list("pk", flat=True))
    if not pks:
        return
    for pk in list_superusers().exclude(email="").values_list("pk", flat=True):
        outbox.enqueue(
            warn_superuser,
            user=pk,
            organizations=pks[:MAX_ENDS],
            more=max(len(pks) - MAX_ENDS, 0),
        )


def describe_keys(row: Membership) -> EndKeys:
    assert row.ends_at is not None
    return {"membership": row.pk, "ends_at": row.ends_at.isoformat()}


def _enqueue(task: Task, ends_by_user: dict[int, list[EndKeys]]) -> None:
    """Queue one email for each user, which lists up to MAX_ENDS of their ends."""
    for pk in sorted(ends_by_user):
        ends = ends_by_user[pk]
        more = max(len(ends) - MAX_ENDS, 0)
        outbox.enqueue(task, user=pk, ends=ends[:MAX_ENDS], more=more)
