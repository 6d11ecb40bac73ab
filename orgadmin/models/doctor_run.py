"""DoctorRun: what the last run of the doctor has found."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class DoctorRun(models.Model):
    """The errors that remained after the last run of `manage.py doctor`.

    There is one row at most, without names: {kind of error: how many}.
    """

    at = models.DateTimeField(default=timezone.now)
    errors = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"

    @property
    def total(self) -> int:
        return sum(self.errors.values())
