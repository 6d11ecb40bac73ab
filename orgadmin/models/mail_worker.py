"""MailWorker: a process that runs the tasks in the outbox."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class MailWorker(models.Model):
    """A worker process, and the time of its last heartbeat."""

    name = models.CharField(max_length=64, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name
