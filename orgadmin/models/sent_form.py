"""SentForm: remembers which forms were submitted, so that each is saved only once."""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, models, transaction
from django.utils import timezone

# How long a submitted form is remembered, at least.
LIFETIME = timedelta(days=1)

# The maximum number of expired rows that are deleted when a form is submitted.
MAX_DELETED_AT_ONCE = 100


class SentFormQuerySet(models.QuerySet["SentForm"]):
    def add(self, key: str, location: str) -> tuple[SentForm, bool]:
        """Return the row of a form, and whether it is new.

        If another transaction has added the row and has not ended yet, waits for its
        end.
        """
        self._delete_expired()
        try:
            # The savepoint keeps the transaction usable if the row exists.
            with transaction.atomic():
                return self.create(key=key, location=location), True
        except IntegrityError:
            return self.get(key=key), False

    def _delete_expired(self) -> None:
        # skip_locked: does not wait for a transaction that is deleting the same rows.
        expired = self.filter(sent_at__lte=timezone.now() - LIFETIME)
        unlocked = expired.select_for_update(skip_locked=True)
        keys = list(unlocked.values_list("pk", flat=True)[:MAX_DELETED_AT_ONCE])
        if keys:
            self.filter(pk__in=keys).delete()


class SentForm(models.Model):
    """A form that was submitted, and the page that shows what was saved.

    `orgadmin.admin.once` adds the row in the transaction that saves the form. `key` is
    a hash of the form's key and the person.
    """

    key = models.CharField(max_length=64, unique=True)
    location = models.TextField()
    sent_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = SentFormQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key
