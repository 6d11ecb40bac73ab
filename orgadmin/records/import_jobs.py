"""Tasks for imports that take too long for a request. A worker runs them.

The worker imports everything in one transaction, and marks the import as done in the
same transaction. If the worker is killed before the commit, nothing is imported, and
another attempt follows. If it is killed after the commit, the import is done.
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
from orgadmin.records.imports.options import REQUEST_LIMITS
from orgadmin.records.imports.organizations import record_refusal
from orgadmin.records.imports.problems import ImportRefused
from orgadmin.records.imports.stored_imports import (
    PreviewOutdated,
    carry_out_import,
    explain_outdated,
    prepare_preview,
    read_report,
    store_records,
)
from orgadmin.records.imports.undo import (
    AlreadyUndone,
    UndoOutdated,
    explain_not_undone,
    undo_import,
)

# The first number of the lock for an import. The second number is the import's key.
IMPORT_LOCK = 0x696D70

# The minimum time between two updates of the progress
PROGRESS_INTERVAL = 1.0  # seconds


class StillRunning(Exception):
    """Another worker is running the import.

    The task fails, so that another attempt follows if that worker was killed.
    """


class NoSuperuser(Exception):
    """The author of the import is no longer an active superuser."""


class Progress:
    """Updates the progress of an import while its transaction is open.

    Uses a second connection, because other users cannot see changes in the import's
    open transaction. Does nothing on SQLite, where this connection would wait until the
    import ends.
    """

    def __init__(self, stored: Import) -> None:
        self.stored = stored
        self.written_at = 0.0

    def __call__(self, line: int) -> None:
        """Store the line that the import has reached, once per PROGRESS_INTERVAL."""
        now = time.monotonic()
        if connection.vendor != "postgresql":
            return
        if now - self.written_at < PROGRESS_INTERVAL:
            return
        self.written_at = now
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                # Do not wait if the row is locked. The transaction that has locked it
                # may be waiting for this one.
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
    """Return whether an import has few enough records to run during a request."""
    return is_few(stored.summary.get("records", 0))


def is_few(rows: int) -> bool:
    return rows <= REQUEST_LIMITS.rows


def start_preparing(stored: Import) -> None:
    """Start a task that prepares the preview, and first reads the file if necessary."""
    # The author is waiting.
    urgent = prepare_import.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, stored=stored.pk)


def start_importing(stored: Import) -> None:
    """Start a task that carries out an import whose preview was confirmed."""
    urgent = run_import.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, stored=stored.pk)


def start_undoing(stored: Import, *, actor: User, seen: str) -> None:
    """Start a task that undoes an import. `seen` is as in `undo_import()`."""
    urgent = run_undo.using(priority=outbox.URGENT)
    outbox.enqueue(urgent, stored=stored.pk, user=actor.pk, seen=seen)


def is_given_up(stored: Import) -> bool:
    """Return whether an import should be running, but no task would continue it.

    Returns False if no worker runs the tasks, as with DEBUG.
    """
    if not stored.is_running or not is_queued():
        return False
    return not has_task(stored, prepare_import, run_import)


def is_being_undone(stored: Import) -> bool:
    """Return whether there is a task that will undo, or is undoing, an import."""
    return is_queued() and has_task(stored, run_undo)


def has_task(stored: Import, *tasks: Task) -> bool:
    """Return whether one of these tasks is waiting or running for an import."""
    paths = [each.module_path for each in tasks]
    rows = DBTaskResult.objects.filter(task_path__in=paths)
    unfinished = rows.exclude(status=TaskResultStatus.FAILED)
    return any(get_values(row)["stored"] == stored.pk for row in unfinished)


def start_again(stored: Import) -> None:
    """Start the task for an import again after it was given up."""
    if stored.state == Import.State.PREPARING:
        start_preparing(stored)
    else:
        start_importing(stored)


@task(takes_context=True)
def prepare_import(context: TaskContext, *, stored: int, language: str) -> None:
    """Read the file of an import if necessary, and prepare its preview."""
    waiting = Import.objects.filter(pk=stored, state=Import.State.PREPARING)
    found = waiting.first()
    if found is None:
        return
    with translation.override(language):
        try:
            if "records" not in found.summary:
                store_records(found)
            prepare_preview(
                found, actor=find_author(found), on_progress=Progress(found)
            )
        except (Import.DoesNotExist, NoSuperuser):
            # The import was canceled in the meantime, or nobody can see its preview.
            return


@task(takes_context=True)
def run_import(context: TaskContext, *, stored: int, language: str) -> None:
    """Carry out an import that was confirmed, or store why it cannot be carried out.

    Raises `StillRunning` if another worker is carrying it out.
    """
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
            return_to_preview(found, error)
        tell_author(found)


@transaction.atomic
def import_once(found: Import) -> None:
    """Carry out an import, unless this has been done.

    Raises `StillRunning` if another worker is carrying it out.
    """
    # The key of the lock is a number of 32 bits.
    if not try_lock_until_commit(IMPORT_LOCK, found.pk % 2**31):
        raise StillRunning
    found.refresh_from_db()
    if found.state == Import.State.WORKING:
        carry_out_import(found, actor=find_author(found), on_progress=Progress(found))


def return_to_preview(found: Import, error: Exception) -> None:
    """Prepare a new preview, in which the author can see why the import was refused.

    Raises `NoSuperuser`.
    """
    author = find_author(found)
    if isinstance(error, ImportRefused):
        record_refusal(error, actor=author)
    found.refresh_from_db()
    found.notice = explain_outdated()
    found.save(update_fields=["notice"])
    prepare_preview(found, actor=author)


def find_author(stored: Import) -> User:
    """Return the person who uploaded the file. Raises `NoSuperuser`."""
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
    """Undo an import, or store why it cannot be undone."""
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
    """Tell the author of an import by email how it ended.

    Sends nothing if they are no longer a superuser, or cannot get email.
    """
    found = Import.objects.filter(pk=stored, actor_key=user).first()
    author = find_recipient(user)
    if found is None or author is None or not is_active_superuser(author):
        return
    report = read_report(found)
    page = reverse("admin:orgadmin_import_overview", args=[found.pk])
    trusted_values: dict[str, Any] = {
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
        trusted_values=trusted_values,
        file=found.file_name,
    )
    outbox.deliver(message, context)
