"""KeptLogEntry: an entry of Django's admin log whose author was deleted."""

from __future__ import annotations

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models

from orgadmin.models.history import make_former_user


class KeptLogEntry(models.Model):
    """A copy of an entry of Django's admin log, with its author as plain values.

    Django deletes the entries of a deleted account. `UserQuerySet.delete()` copies them
    here before.
    """

    entry_key = models.BigIntegerField()  # the key of the entry
    action_time = models.DateTimeField()
    user_key = models.BigIntegerField()
    user_name = models.CharField(max_length=150)
    content_type = models.ForeignKey(
        ContentType, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    object_id = models.TextField(null=True)
    object_repr = models.CharField(max_length=200)
    action_flag = models.PositiveSmallIntegerField()
    change_message = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["object_id", "content_type", "entry_key"], name="kept_entry"
            )
        ]

    def __str__(self) -> str:
        return self.object_repr

    def to_log_entry(self) -> LogEntry:
        """Return the entry as Django's class, for pages. It must not be saved."""
        return LogEntry(
            pk=self.entry_key,
            action_time=self.action_time,
            user=make_former_user(self.user_key, self.user_name),
            content_type_id=self.content_type_id,
            object_id=self.object_id,
            object_repr=self.object_repr,
            action_flag=self.action_flag,
            change_message=self.change_message,
        )
