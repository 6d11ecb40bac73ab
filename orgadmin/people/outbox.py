"""The outbox: emails, and other tasks, that wait in the database for a worker.

A task sends at most one email to one person, so that nobody gets an email twice because
the email to someone else failed. The task is added in the transaction of the change
that the email is about. So no email is lost, and none is sent about a change that was
rolled back. Other tasks are imports and bulk changes, for example.

The database stores the arguments of a task until it is done. They must never contain
links, tokens or other secrets, so most of them are IDs. The task reads everything else,
and creates links, when it runs. `worker.py` runs the tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.utils.translation import get_language
from django_tasks import (
    DEFAULT_TASK_BACKEND_ALIAS,
    TaskContext,
    task_backends,
)
from django_tasks.base import Task
from django_tasks.utils import normalize_json
from django_tasks_db import DatabaseBackend
from django_tasks_db.models import DBTaskResult, get_date_max

# How many tasks are added with one statement.
BATCH = 500

# The priority of emails that someone is waiting for, and of emails about security. They
# overtake the thousands of emails that an import can add.
URGENT = 10

# The priority of emails that visitors ask for. Strangers can ask for many of them, and
# must not make signed-in people wait.
FOR_VISITORS = 5


def is_queued() -> bool:
    """Return whether a worker runs the tasks.

    With DEBUG, the process that adds a task runs it, after the commit.
    """
    return isinstance(task_backends[DEFAULT_TASK_BACKEND_ALIAS], DatabaseBackend)


def enqueue(task: Task, **values: Any) -> None:
    """Add a task, which runs after the commit of the current transaction.

    The task gets the arguments `values` and `language`, the current person's language.
    """
    task.enqueue(language=get_language() or settings.LANGUAGE_CODE, **values)


def enqueue_all(task: Task, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add a task for each row of values, as `enqueue()` does for one.

    Adds BATCH tasks with one statement. With one statement per task, this would take
    most of the time when thousands of people get an email.
    """
    language = get_language() or settings.LANGUAGE_CODE
    if not is_queued():
        for values in rows:
            task.enqueue(language=language, **values)
        return
    stored: list[DBTaskResult[Any, Any]] = [
        DBTaskResult(
            args_kwargs=normalize_json(
                {"args": [], "kwargs": {"language": language, **values}}
            ),
            priority=task.priority,
            task_path=task.module_path,
            queue_name=task.queue_name,
            # For single rows, a signal sets this value.
            run_after=task.run_after or get_date_max(),
            backend_name=task.backend,
        )
        for values in rows
    ]
    DBTaskResult.objects.bulk_create(stored, batch_size=BATCH)


def deliver(message: EmailMessage, context: TaskContext) -> None:
    """Send the message of a task.

    If a task runs twice because its worker was killed, both messages have the same ID,
    so that mail programs can show only one of them. Raises the exceptions of smtplib
    and of the network, which are all `OSError`.
    """
    host = urlsplit(settings.BASE_URL).hostname
    message.extra_headers["Message-ID"] = f"<{context.task_result.id}@{host}>"
    get_connection().send_messages([message])


@contextmanager
def replace_task(context: TaskContext) -> Iterator[None]:
    """Replace a task with the tasks that are added in the block, in one transaction.

    If the worker is killed before the commit, none of the new tasks exist, and the
    original task runs again.
    """
    with transaction.atomic():
        if is_queued():
            DBTaskResult.objects.filter(pk=context.task_result.id).delete()
        yield


def get_values(stored: DBTaskResult) -> dict[str, Any]:
    """Return the values that `enqueue()` stored with a task."""
    return stored.args_kwargs["kwargs"]
