"""Counted attempts."""

from django.db import models


class SignInAttempt(models.Model):
    """Attempts to sign in with one user name from one address; the key is a hash of both."""

    key = models.CharField(max_length=64, unique=True)
    count = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)

    def __str__(self):
        return self.key
