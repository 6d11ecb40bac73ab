"""SentForm: remembers which forms were sent, so that each is saved once."""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, models, transaction
from django.utils import timezone

# How long a form that was sent is remembered.
LIFETIME = timedelta(days=1)

# How many expired rows are deleted when a form is sent.
DELETED_AT_ONCE = 100


class SentFormQuerySet(models.QuerySet["SentForm"]):
    def add(self, key: str, location: str) -> tuple[SentForm, bool]:
        """Return the row of a form, and whether it is new.

        While another transaction has added the row, this waits until it ends.
        """
        self._delete_expired()
        try:
            # The savepoint keeps the transaction usable if the row exists.
            with transaction.atomic():
                return self.create(key=key, location=location), True
        except IntegrityError:
            return self.get(key=key), False

    def _delete_expired(self) -> None:
        # Nobody waits for a transaction that is deleting the same rows.
        expired = self.filter(sent_at__lte=timezone.now() - LIFETIME)
        unlocked = expired.select_for_update(skip_locked=True)
        keys = list(unlocked.values_list("pk", flat=True)[:DELETED_AT_ONCE])
        if keys:
            self.filter(pk__in=keys).delete()


class SentForm(models.Model):
    """A form that was sent, and the page that shows what was saved.

    `orgadmin.admin.once` adds a row in the transaction that saves what the form says.
    The key is a hash, which includes the person.
    """

    key = models.CharField(max_length=64, unique=True)
    location = models.TextField()
    sent_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = SentFormQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key
