"""The task backend with DEBUG, which does not need a worker."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django_tasks.backends.immediate import ImmediateBackend
from django_tasks.base import Task


class AtOnceBackend(ImmediateBackend):
    """Runs each task in the process that adds it, after the transaction's commit."""

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> Any:
        """Run a task after the commit. Does not return a result: there is none yet."""
        run = super().enqueue
        transaction.on_commit(partial(run, task, args, kwargs))
