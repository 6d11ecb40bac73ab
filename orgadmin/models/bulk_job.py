"""BulkJob: a change of many roles that a worker carries out."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class BulkJob(models.Model):
    """A bulk change that someone has confirmed, and its result."""

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        WORKING = "working", _("Working")
        DONE = "done", _("Done")
        REFUSED = "refused", _("Nothing was changed")

    # Not a foreign key, so that a release that does not know this table can delete the
    # account.
    actor_key = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    # The change and the arguments of `carry_out()`, as `people/bulk_jobs.py` stores
    # them. Emptied when the job is finished, because the logs contain the changes.
    order = models.JSONField(default=dict)
    state = models.CharField(
        max_length=16, choices=State.choices, default=State.WAITING
    )
    number = models.PositiveIntegerField()  # of roles that will change
    changed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    # Why nothing was changed, for superusers, in the actor's language.
    refusal = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None
