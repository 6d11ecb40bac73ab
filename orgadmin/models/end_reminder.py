"""EndReminder: remembers which ends of memberships people were reminded of."""

from django.db import models


class EndReminder(models.Model):
    """The end of a membership for which a reminder has been sent or is in the outbox.

    The row is added in the transaction that adds the email to the outbox. The
    constraint prevents two workers from sending a reminder of the same end. If the end
    of the membership changes, there is no row for the new end, so people are reminded
    again. Rows are deleted after the end.

    IDs are plain values, so that a row does not prevent deleting the user or group.
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
