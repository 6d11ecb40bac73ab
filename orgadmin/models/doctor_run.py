"""DoctorRun: the result of the last run of the doctor."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class DoctorRun(models.Model):
    """The errors in records that remained after the last run of `manage.py doctor`.

    The table has at most one row. `errors` is {kind of error: number}, without names.
    """

    at = models.DateTimeField(default=timezone.now)
    errors = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"

    @property
    def total(self) -> int:
        return sum(self.errors.values())
