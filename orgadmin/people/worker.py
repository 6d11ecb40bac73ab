"""The worker: runs the tasks in the outbox, such as emails, and does periodic work.

If a task fails, the worker tries again several times, for about a day. Then it gives
up, which the doctor and the page of unsent emails report. If the mail server has
permanently refused a message, the worker gives up immediately. Any number of workers
can run at the same time.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPResponseException
from typing import Any

from django.db import (
    InterfaceError,
    OperationalError,
    close_old_connections,
    models,
    transaction,
)
from django.utils import timezone
from django.utils.crypto import get_random_string
from django_tasks import DEFAULT_TASK_BACKEND_ALIAS, TaskContext, TaskResultStatus
from django_tasks_db.models import DBTaskResult

from orgadmin.models import BulkJob, Import, MailWorker, MonthlyCount
from orgadmin.people.access_requests import delete_old_requests
from orgadmin.people.archive import purge_trash
from orgadmin.people.end_reminders import remind_of_ends
from orgadmin.people.expiry import remove_ended_memberships
from orgadmin.people.outbox import get_values
from orgadmin.people.review_schedule import run_reviews

logger = logging.getLogger("orgadmin.mail")

# How long to wait after each failed attempt. If the attempt after the last pause fails,
# the task is given up.
PAUSES = [
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=8),
    timedelta(hours=14),
]
MAX_ATTEMPTS = len(PAUSES) + 1

# If a task has not ended after this time, its worker is assumed to be dead, and the
# task runs again. Sending a message has about ten steps, each of which takes at most
# EMAIL_TIMEOUT.
LEASE = timedelta(minutes=5)

# How long tasks that were given up are kept, so that someone can run them again, and
# how long finished bulk changes are kept.
KEPT_FOR = timedelta(days=30)

# How long the rows of workers that no longer run are kept.
WORKER_KEPT_FOR = timedelta(days=1)

# How often a worker looks for new tasks, and how often it sends a heartbeat.
POLL = 1  # second
BEAT = timedelta(seconds=15)

# The maximum length of a stored reason, in characters.
REASON_LENGTH = 500


@dataclass(frozen=True)
class PeriodicWork:
    """A function that each worker calls regularly, between two tasks.

    Several workers may call the function at the same time, and it may be killed at any
    point. It must therefore work in batches, and it must be safe to call it again.
    """

    work: Callable[[], object]
    every: timedelta


class Worker:
    """Runs one task after the other, until `stop()` is called."""

    def __init__(self) -> None:
        # Host names can be longer than the column.
        self.name = f"{socket.gethostname()[:30]}-{get_random_string(12)}"
        self.stopping = threading.Event()
        self.beat_at: datetime | None = None
        self.worked_at: dict[PeriodicWork, datetime] = {}

    def stop(self, *_signal: Any) -> None:
        """Stop after the current task."""
        self.stopping.set()

    def run(self, *, once: bool = False) -> int:
        """Run tasks until `stop()` is called, and return how many were run.

        With `once`, returns as soon as no task is due, and raises errors of the
        database.
        """
        number = 0
        while not self.stopping.is_set():
            close_old_connections()
            try:
                self.send_heartbeat()
                self.do_periodic_work()
                stored = self.take()
                if stored is not None:
                    run_task(stored)
                    number += 1
                    continue
            except (OperationalError, InterfaceError):
                if once:
                    raise
                logger.exception("The database does not answer. Trying again.")
            if once:
                break
            self.stopping.wait(POLL)
        return number

    def send_heartbeat(self) -> None:
        """Store that this worker is running, if the last time was at least BEAT ago."""
        now = timezone.now()
        if self.beat_at is not None and now - self.beat_at < BEAT:
            return
        MailWorker.objects.update_or_create(name=self.name, defaults={"seen_at": now})
        self.beat_at = now

    def do_periodic_work(self) -> None:
        """Do the work in PERIODIC that is due. Log errors, and continue."""
        for periodic in PERIODIC:
            now = timezone.now()
            worked_at = self.worked_at.get(periodic)
            if worked_at is not None and now - worked_at < periodic.every:
                continue
            self.worked_at[periodic] = now
            try:
                periodic.work()
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                name = getattr(periodic.work, "__name__", "")
                logger.exception("Periodic work failed: %s", name)

    def take(self) -> DBTaskResult | None:
        """Return a task that is due, and that no other worker has taken, or None."""
        due = DBTaskResult.objects.ready().filter(
            backend_name=DEFAULT_TASK_BACKEND_ALIAS
        )
        # Checked first, because on SQLite, the transaction would prevent others from
        # writing.
        if not due.exists():
            return None
        with transaction.atomic():
            stored = due.get_locked()
            if stored is not None:
                stored.claim(self.name)
        return stored


def release_abandoned() -> None:
    """Make tasks that were started longer than LEASE ago run again.

    Their worker was probably killed.
    """
    running = DBTaskResult.objects.running()
    abandoned = running.filter(started_at__lt=timezone.now() - LEASE)
    number = abandoned.update(status=TaskResultStatus.READY, run_after=timezone.now())
    if number:
        logger.warning("%d tasks that a worker has left will run again.", number)


def delete_old() -> None:
    """Delete old rows of failed tasks, of finished bulk changes, and of workers."""
    now = timezone.now()
    DBTaskResult.objects.failed().filter(finished_at__lt=now - KEPT_FOR).delete()
    MailWorker.objects.filter(seen_at__lt=now - WORKER_KEPT_FOR).delete()
    BulkJob.objects.filter(finished_at__lt=now - KEPT_FOR).delete()


# The regular work of each worker.
PERIODIC = [
    PeriodicWork(release_abandoned, every=BEAT),
    PeriodicWork(delete_old, every=BEAT),
    # The home page shows how many organizations and people there are.
    PeriodicWork(MonthlyCount.objects.count_today, every=BEAT),
    PeriodicWork(remove_ended_memberships, every=timedelta(minutes=1)),
    PeriodicWork(remind_of_ends, every=timedelta(minutes=5)),
    PeriodicWork(Import.objects.delete_old, every=timedelta(minutes=5)),
    PeriodicWork(purge_trash, every=timedelta(hours=1)),
    PeriodicWork(run_reviews, every=timedelta(minutes=1)),
    PeriodicWork(delete_old_requests, every=timedelta(days=1)),
]


def run_task(stored: DBTaskResult) -> None:
    """Run a task, and delete it. If it fails, schedule another attempt, or give it up.

    Gives up immediately if the worker was killed during all previous attempts.
    """
    if len(stored.worker_ids) > MAX_ATTEMPTS:
        give_up(stored, "The worker was killed during each attempt.")
        return
    try:
        result: Any = stored.task_result
        context = TaskContext(task_result=result)
        stored.task.call(context, **get_values(stored))
    except Exception as error:
        handle_error(stored, error)
        return
    DBTaskResult.objects.filter(pk=stored.pk).delete()
    logger.info("A task of the outbox is done.", extra=describe_task(stored))


def handle_error(stored: DBTaskResult, error: Exception) -> None:
    """Schedule another attempt of a task that failed, or give it up."""
    reason = find_reason(error)
    if not isinstance(error, OSError):
        # The error comes from the code or the database, not from the mail server.
        logger.exception("A task of the outbox failed.", extra=describe_task(stored))
    if is_permanent(error) or len(stored.worker_ids) >= MAX_ATTEMPTS:
        give_up(stored, reason)
        return
    pause = PAUSES[len(stored.worker_ids) - 1]
    find_claimed(stored).update(
        status=TaskResultStatus.READY,
        run_after=timezone.now() + pause,
        traceback=reason,
    )
    logger.warning(
        "A task of the outbox failed, and will be tried again.",
        extra={**describe_task(stored), "error": name_error(error)},
    )


def give_up(stored: DBTaskResult, reason: str) -> None:
    """Store why a task failed for good, unless another worker has it now. Log it."""
    find_claimed(stored).update(
        status=TaskResultStatus.FAILED,
        finished_at=timezone.now(),
        traceback=reason,
    )
    logger.error("A task of the outbox was given up.", extra=describe_task(stored))


def find_claimed(stored: DBTaskResult) -> models.QuerySet[DBTaskResult]:
    """Return the row of a task, unless another worker has taken it in the meantime."""
    return DBTaskResult.objects.filter(pk=stored.pk, started_at=stored.started_at)


def is_permanent(error: Exception) -> bool:
    """Return whether the mail server has permanently refused the recipient or message.

    Other errors, such as a refused sender, are not permanent, because operators can
    correct them before the last attempt.
    """
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _text in error.recipients.values())
    return isinstance(error, SMTPDataError) and error.smtp_code >= 500


def find_reason(error: Exception) -> str:
    """Return in one line why a message could not be sent, for superusers."""
    if isinstance(error, SMTPRecipientsRefused):
        [answer, *_others] = error.recipients.values()
        return join_answer(*answer)
    if isinstance(error, SMTPResponseException):
        return join_answer(error.smtp_code, error.smtp_error)
    if isinstance(error, OSError):
        return clean_reason(str(error)) or name_error(error)
    return name_error(error)


def join_answer(code: int, text: bytes | str) -> str:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return clean_reason(f"{code} {text}")


def clean_reason(text: str) -> str:
    line = " ".join(text.split())
    return "".join(char for char in line if char.isprintable())[:REASON_LENGTH]


def name_error(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def describe_task(stored: DBTaskResult) -> dict[str, Any]:
    """Return the fields of a task for the log: IDs, but no addresses."""
    values = get_values(stored)
    keys = {name: key for name, key in values.items() if isinstance(key, int)}
    return {
        "task": stored.task_path,
        "message_id": str(stored.pk),
        "keys": keys,
        "attempt": len(stored.worker_ids),
    }
