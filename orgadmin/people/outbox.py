"""The outbox: mail that waits in the database until a worker sends it.

A task sends one message to one person, so that nobody gets a message again because the
message to someone else failed. It is added in the transaction of the change that the
message is about: no mail is lost, and none is sent about a change that was undone.

The database keeps the arguments of a task until it is done, so these are keys, and
never links, tokens or other secrets. The task reads the rest, and makes the link, when
it sends the message. `worker.py` runs the tasks.
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

# How many tasks a statement adds.
BATCH = 500

# The priority of mail that someone waits for, and of mail about security. Imports can
# add thousands of other messages before it.
URGENT = 10

# The priority of mail that visitors ask for. Strangers can ask for much of it, and must
# not keep people who are signed in waiting.
FOR_VISITORS = 5


def is_queued() -> bool:
    """Return whether tasks wait for a worker. With DEBUG, they run at once."""
    return isinstance(task_backends[DEFAULT_TASK_BACKEND_ALIAS], DatabaseBackend)


def enqueue(task: Task, **values: Any) -> None:
    """Have a task run once the current transaction is committed.

    The task gets `values`, and `language`: the language of the person who acts now.
    """
    task.enqueue(language=get_language() or settings.LANGUAGE_CODE, **values)


def enqueue_all(task: Task, rows: Iterable[Mapping[str, Any]]) -> None:
    """Have a task run for each of these values, as `enqueue()` does for one.

    A statement adds BATCH of them. One for each takes most of the time when thousands
    of people get mail.
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
            # A signal fills this in for single rows.
            run_after=task.run_after or get_date_max(),
            backend_name=task.backend,
        )
        for values in rows
    ]
    DBTaskResult.objects.bulk_create(stored, batch_size=BATCH)


def deliver(message: EmailMessage, context: TaskContext) -> None:
    """Send the message of a task.

    If a task runs twice because its worker was killed, both messages have the same ID,
    and mail programs can show one of them. Raises the errors of smtplib.
    """
    host = urlsplit(settings.BASE_URL).hostname
    message.extra_headers["Message-ID"] = f"<{context.task_result.id}@{host}>"
    get_connection().send_messages([message])


@contextmanager
def replace_task(context: TaskContext) -> Iterator[None]:
    """Replace a task by those that the block adds, in one transaction.

    If the worker is killed in between, the task runs again, and none of the others
    exist.
    """
    with transaction.atomic():
        if is_queued():
            DBTaskResult.objects.filter(pk=context.task_result.id).delete()
        yield


def get_values(stored: DBTaskResult) -> dict[str, Any]:
    """Return the values that `enqueue()` stored with a task."""
    return stored.args_kwargs["kwargs"]
