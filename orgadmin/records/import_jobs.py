"""Imports that take longer than a request may: a worker makes them.

The worker imports everything in one transaction, together with the row that says so. If
it is killed before the commit, nothing is imported, and another attempt is made. If it
is killed after the commit, the row says that it is done.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django_tasks import TaskContext, task
from django_tasks.base import Task, TaskResultStatus
from django_tasks_db.models import DBTaskResult

from orgadmin.access.rule import is_active_superuser
from orgadmin.access.sql import try_lock_until_commit
from orgadmin.models import Import, User
from orgadmin.models.guards import LastAdminError
from orgadmin.people import outbox
from orgadmin.people.mail import find_recipient
from orgadmin.people.message import write_message
from orgadmin.people.outbox import get_values, is_queued
from orgadmin.records.imports.options import AT_ONCE
from orgadmin.records.imports.organizations import record_refusal
from orgadmin.records.imports.problems import ImportRefused
from orgadmin.records.imports.stored_imports import (
    PreviewOutdated,
    carry_out,
    explain_outdated,
    prepare,
    read_file,
    read_report,
)
from orgadmin.records.imports.undo import (
    AlreadyUndone,
    UndoOutdated,
    explain_not_undone,
    undo_import,
)

# The first number of the locks of imports. The second one is the key of the import.
LOCK = 0x696D70

# How often the progress is written.
PAUSE = 1.0  # seconds


class StillRunning(Exception):
    """Another worker has the import. Once it is killed, another attempt is made."""


class NoSuperuser(Exception):
    """The author of the import may not import any more."""


class Progress:
    """Writes how far an import has come, while its transaction is open.

    For others to see it, that takes a second connection. On SQLite, that one would wait
    for the end of the import.
    """

    def __init__(self, stored: Import) -> None:
        self.stored = stored
        self.written_at = 0.0

    def __call__(self, line: int) -> None:
        now = time.monotonic()
        if connection.vendor != "postgresql" or now - self.written_at < PAUSE:
            return
        self.written_at = now
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                # Never wait for the row: the one who has locked it may be waiting here.
                cursor.execute(
                    """
                    UPDATE orgadmin_import
                    SET line = %s
                    WHERE id IN (
                        SELECT id
                        FROM orgadmin_import
                        WHERE id = %s
                        FOR NO KEY UPDATE SKIP LOCKED
                    )
                    """,
                    [line, self.stored.pk],
                )
        finally:
            other.close()


def is_small(stored: Import) -> bool:
    """Return whether the records of an import are few enough for a request."""
    return is_few(stored.summary.get("records", 0))


def is_few(rows: int) -> bool:
    return rows <= AT_ONCE.rows


def start_preparing(stored: Import) -> None:
    """Have a worker read a file, unless that is done, and make its preview."""
    # Someone waits for it.
    urgent = prepare_import.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, stored=stored.pk)


def start_importing(stored: Import) -> None:
    """Have a worker import a file whose preview was confirmed."""
    urgent = run_import.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, stored=stored.pk)


def start_undoing(stored: Import, *, actor: User, seen: str) -> None:
    """Have a worker undo an import, if that does what the actor has seen."""
    urgent = run_undo.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, stored=stored.pk, user=actor.pk, seen=seen)


def is_given_up(stored: Import) -> bool:
    """Return whether no worker will go on with an import that is not done."""
    if not stored.is_running or not is_queued():
        return False
    return not has_task(stored, prepare_import, run_import)


def is_being_undone(stored: Import) -> bool:
    """Return whether a worker undoes an import, or will do so."""
    return is_queued() and has_task(stored, run_undo)


def has_task(stored: Import, *tasks: Task) -> bool:
    """Return whether one of these tasks is to be run, or is running, for an import."""
    paths = [each.module_path for each in tasks]
    rows = DBTaskResult.objects.filter(task_path__in=paths)
    unfinished = rows.exclude(status=TaskResultStatus.FAILED)
    return any(get_values(row)["stored"] == stored.pk for row in unfinished)


def start_again(stored: Import) -> None:
    """Have a worker try again what was given up."""
    if stored.state == Import.State.PREPARING:
        start_preparing(stored)
    else:
        start_importing(stored)


@task(takes_context=True)
def prepare_import(context: TaskContext, *, stored: int, language: str) -> None:
    """Read a file, and make the preview of its import."""
    waiting = Import.objects.filter(pk=stored, state=Import.State.PREPARING)
    found = waiting.first()
    if found is None:
        return
    with translation.override(language):
        try:
            if "records" not in found.summary:
                read_file(found)
            prepare(found, actor=find_author(found), on_progress=Progress(found))
        except (Import.DoesNotExist, NoSuperuser):
            # It was canceled meanwhile, or nobody may see it.
            return


@task(takes_context=True)
def run_import(context: TaskContext, *, stored: int, language: str) -> None:
    """Make an import that was confirmed, or note why it cannot be made."""
    confirmed = (Import.State.QUEUED, Import.State.WORKING)
    found = Import.objects.filter(pk=stored, state__in=confirmed).first()
    if found is None:
        return
    working = {"started_at": timezone.now(), "line": 0}
    if not found.move(confirmed, Import.State.WORKING, **working):
        return
    with translation.override(language):
        try:
            import_once(found)
        except NoSuperuser:
            found.move(confirmed, Import.State.FAILED, notice=explain_no_superuser())
        except (ImportRefused, PreviewOutdated) as error:
            refuse(found, error)
        tell_author(found)


@transaction.atomic
def import_once(found: Import) -> None:
    """Make an import, unless another worker makes it, or has made it."""
    if not try_lock_until_commit(LOCK, found.pk % 2**31):
        raise StillRunning
    found.refresh_from_db()
    if found.state == Import.State.WORKING:
        carry_out(found, actor=find_author(found), on_progress=Progress(found))


def refuse(found: Import, error: Exception) -> None:
    """Show the author what is in the way, in a new preview."""
    author = find_author(found)
    if isinstance(error, ImportRefused):
        record_refusal(error, actor=author)
    found.refresh_from_db()
    found.notice = explain_outdated()
    found.save(update_fields=["notice"])
    prepare(found, actor=author)


def find_author(stored: Import) -> User:
    """Return who has uploaded a file. Raises `NoSuperuser`."""
    author = User.objects.filter(pk=stored.actor_key).first()
    if author is None or not is_active_superuser(author):
        raise NoSuperuser
    return author


def explain_no_superuser() -> str:
    return _("You are no longer platform staff.")


@task(takes_context=True)
def run_undo(
    context: TaskContext, *, stored: int, user: int, seen: str, language: str
) -> None:
    """Undo an import, or note why it cannot be undone."""
    found = Import.objects.filter(pk=stored).first()
    actor = User.objects.filter(pk=user).first()
    if found is None or actor is None or not is_active_superuser(actor):
        return
    with translation.override(language):
        try:
            undo_import(found, actor=actor, seen=seen)
        except AlreadyUndone:
            return
        except (UndoOutdated, LastAdminError) as error:
            Import.objects.filter(pk=stored).update(notice=explain_not_undone(error))


def tell_author(stored: Import) -> None:
    outbox.enqueue(mail_result, stored=stored.pk, user=stored.actor_key)


@task(takes_context=True)
def mail_result(context: TaskContext, *, stored: int, user: int, language: str) -> None:
    """Tell the author of an import what has become of it."""
    found = Import.objects.filter(pk=stored, actor_key=user).first()
    author = find_recipient(user)
    if found is None or author is None or not is_active_superuser(author):
        return
    report = read_report(found)
    page = reverse("admin:orgadmin_import_overview", args=[found.pk])
    ours: dict[str, Any] = {
        "is_done": found.is_done,
        "created": report.created,
        "changed": report.changed,
        "people": report.people,
        "invited": report.invited,
        "page": settings.BASE_URL + page,
    }
    message = write_message(
        "import",
        to=author.email,
        recipient=author,
        language=settings.LANGUAGE_CODE,
        ours=ours,
        file=found.file_name,
    )
    outbox.deliver(message, context)
