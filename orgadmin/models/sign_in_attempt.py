"""SignInAttempt: counts attempts, so that their number can be limited."""

from django.db import models


class SignInAttempt(models.Model):
    """Attempts of one kind by one subject, such as sign-ins with one username.

    `orgadmin.accounts.throttle` counts them. The key is a hash of kind and subject.
    """

    key = models.CharField(max_length=64, unique=True)
    count = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key
