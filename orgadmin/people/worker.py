"""The worker: sends the mail in the outbox, and does what is due from time to time.

A message that could not be sent is tried again after a while, for about a day. Then it
is given up, which the doctor and the page of unsent mail report. Any number of workers
can run.
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

# How long to wait after each failed attempt. After the last one, mail is given up.
PAUSES = [
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=8),
    timedelta(hours=14),
]
MAX_ATTEMPTS = len(PAUSES) + 1

# A task that runs for longer was left by a worker that was killed, and is run again.
# Each step of sending a message takes at most EMAIL_TIMEOUT, and there are about ten.
LEASE = timedelta(minutes=5)

# How long mail that was given up is kept, for someone to send it again.
KEPT = timedelta(days=30)

# The names of workers that no longer run are deleted after this time.
WORKER_KEPT = timedelta(days=1)

# How often a worker looks for new mail, and reports that it is running.
POLL = 1  # second
BEAT = timedelta(seconds=15)

# How many characters of a reason are stored.
REASON_LENGTH = 500


@dataclass(frozen=True)
class PeriodicWork:
    """A function that each worker calls from time to time, between two messages.

    Several workers may call it at the same time, and it may be killed anywhere. So it
    works in batches, and calling it again does no harm.
    """

    work: Callable[[], object]
    every: timedelta


class Worker:
    """Sends one message after the other, until it is told to stop."""

    def __init__(self) -> None:
        # Names of machines may be longer than the column.
        self.name = f"{socket.gethostname()[:30]}-{get_random_string(12)}"
        self.stopping = threading.Event()
        self.beat_at: datetime | None = None
        self.worked_at: dict[PeriodicWork, datetime] = {}

    def stop(self, *_signal: Any) -> None:
        """Stop after the message that is being sent."""
        self.stopping.set()

    def run(self, *, once: bool = False) -> int:
        """Send mail until `stop()` is called. Returns how many tasks were run.

        With `once`, return as soon as no mail is due.
        """
        number = 0
        while not self.stopping.is_set():
            close_old_connections()
            try:
                self.report()
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

    def report(self) -> None:
        """Note that this worker is running, every BEAT."""
        now = timezone.now()
        if self.beat_at is not None and now - self.beat_at < BEAT:
            return
        MailWorker.objects.update_or_create(name=self.name, defaults={"seen_at": now})
        self.beat_at = now

    def do_periodic_work(self) -> None:
        """Do what in PERIODIC is due. An error in it does not stop the mail."""
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
        """Return a task that is due, and which no other worker takes."""
        due = DBTaskResult.objects.ready().filter(
            backend_name=DEFAULT_TASK_BACKEND_ALIAS
        )
        # On SQLite, a transaction would keep others from writing.
        if not due.exists():
            return None
        with transaction.atomic():
            stored = due.get_locked()
            if stored is not None:
                stored.claim(self.name)
        return stored


def release_abandoned() -> None:
    """Let tasks that a killed worker has left run again."""
    running = DBTaskResult.objects.running()
    abandoned = running.filter(started_at__lt=timezone.now() - LEASE)
    number = abandoned.update(status=TaskResultStatus.READY, run_after=timezone.now())
    if number:
        logger.warning("%d messages that a worker has left are sent again.", number)


def delete_old() -> None:
    """Delete what was given up or finished long ago, and workers that no longer run."""
    now = timezone.now()
    DBTaskResult.objects.failed().filter(finished_at__lt=now - KEPT).delete()
    MailWorker.objects.filter(seen_at__lt=now - WORKER_KEPT).delete()
    BulkJob.objects.filter(finished_at__lt=now - KEPT).delete()


# What each worker does from time to time.
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
    """Run a task. If it fails, have it run again later, or give it up."""
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
    logger.info("A task of the outbox is done.", extra=describe(stored))


def handle_error(stored: DBTaskResult, error: Exception) -> None:
    reason = find_reason(error)
    if not isinstance(error, OSError):
        # Not an answer of the mail server, but an error in the code or the database.
        logger.exception("A task of the outbox failed.", extra=describe(stored))
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
        "Mail could not be sent, and will be tried again.",
        extra={**describe(stored), "error": name_error(error)},
    )


def give_up(stored: DBTaskResult, reason: str) -> None:
    find_claimed(stored).update(
        status=TaskResultStatus.FAILED,
        finished_at=timezone.now(),
        traceback=reason,
    )
    logger.error("Mail was given up.", extra=describe(stored))


def find_claimed(stored: DBTaskResult) -> models.QuerySet[DBTaskResult]:
    """Return the row of a task, unless another worker has taken it meanwhile."""
    return DBTaskResult.objects.filter(pk=stored.pk, started_at=stored.started_at)


def is_permanent(error: Exception) -> bool:
    """Return whether the mail server refused the recipient or the message for good.

    If it refuses the sender, or us, an operator can change that within the day.
    """
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _text in error.recipients.values())
    return isinstance(error, SMTPDataError) and error.smtp_code >= 500


def find_reason(error: Exception) -> str:
    """Return in one line why mail could not be sent, for superusers."""
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


def describe(stored: DBTaskResult) -> dict[str, Any]:
    """Return what the log says about a task: keys, and no addresses."""
    values = get_values(stored)
    keys = {name: key for name, key in values.items() if isinstance(key, int)}
    return {
        "task": stored.task_path,
        "message_id": str(stored.pk),
        "keys": keys,
        "attempt": len(stored.worker_ids),
    }
