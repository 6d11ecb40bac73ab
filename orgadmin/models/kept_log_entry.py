"""KeptLogEntry: an entry of Django's admin log whose author was deleted."""

from __future__ import annotations

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models

from orgadmin.models.history import make_former_user


class KeptLogEntry(models.Model):
    """A copy of an entry of Django's admin log, with its author as plain values.

    When an account is deleted, Django deletes its log entries. `UserQuerySet.delete()`
    copies them to this table first. The copies are kept without a time limit. When the
    person is erased, `user_name` is replaced.
    """

    entry_key = models.BigIntegerField()  # the ID of the original entry
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
        """Return an unsaved `LogEntry` for pages. It must not be saved."""
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
