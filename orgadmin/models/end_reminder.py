"""EndReminder: that people were reminded of the end of a membership."""

from django.db import models


class EndReminder(models.Model):
    """A row for each end of a membership of which mail has reminded, or will.

    The row is added in the transaction that adds the mail to the outbox. The constraint
    keeps two workers from reminding of the same end. A membership that gets another end
    has no row for it, so people are reminded again. Rows are deleted after the end.

    Keys are plain values, so a row does not prevent the deletion of what they name.
    """

    user_key = models.BigIntegerField()
    group_key = models.BigIntegerField()
    ends_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["ends_at", "group_key", "user_key"], name="unique_end_reminder"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_key} in {self.group_key} until {self.ends_at}"
