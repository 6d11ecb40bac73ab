"""SignInAttempt: counts attempts to sign in, and other actions with a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from django.db import connection, models
from django.utils import timezone

# The time in which attempts are counted together, unless a longer one is given.
WINDOW = timedelta(minutes=15)


@dataclass(frozen=True)
class AttemptCount:
    """The number of attempts, and the time at which counting starts again."""

    count: int
    until: datetime


def make_key(kind: str, subject: str | int) -> str:
    """Return the key for attempts of one kind by one subject, ignoring case."""
    text = f"{kind}\n{subject}".casefold()
    return sha256(text.encode("utf-8", "replace")).hexdigest()


class SignInAttemptQuerySet(models.QuerySet["SignInAttempt"]):
    def count_one(self, key: str, window: timedelta = WINDOW) -> AttemptCount:
        """Count an attempt, and return the number of attempts including this one.

        Counting starts again after `window`, which must not be shorter than WINDOW.
        """
        now = timezone.now()
        table = connection.ops.quote_name(self.model._meta.db_table)
        # A single statement counts all attempts, even simultaneous ones. The ORM cannot
        # insert a row or add to its value if the row exists. If the window of a row is
        # over, counting starts again. "expired" is the same for all windows, because
        # `since` is moved into the future for longer windows.
        sql = f"""
            INSERT INTO {table} (key, count, since)
            VALUES (%(key)s, 1, %(since)s)
            ON CONFLICT (key) DO UPDATE
            SET count = CASE
                    WHEN {table}.since <= %(expired)s THEN 1
                    ELSE {table}.count + 1
                END,
                since = CASE
                    WHEN {table}.since <= %(expired)s THEN excluded.since
                    ELSE {table}.since
                END
            RETURNING id, key, count, since
        """
        adapt = connection.ops.adapt_datetimefield_value
        parameters = {
            "key": key,
            "since": adapt(now + window - WINDOW),
            "expired": adapt(now - WINDOW),
        }
        [row] = self.raw(sql, parameters)
        return AttemptCount(row.count, row.since + WINDOW)

    def take_back(self, key: str) -> None:
        """Reduce the number of attempts by one."""
        rows = self.filter(key=key, count__gt=0)
        rows.update(count=models.F("count") - 1)

    def delete_expired(self) -> None:
        """Delete the rows whose window is over."""
        self.filter(since__lte=timezone.now() - WINDOW).delete()


class SignInAttempt(models.Model):
    """The number of attempts of one kind by one subject.

    An example are sign-ins with one username. Other code counts invitations or emails
    in this table. The key is a hash from `make_key()`. Counting starts again when
    WINDOW has passed after `since`.
    """

    key = models.CharField(max_length=64, unique=True)
    count = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)

    objects = SignInAttemptQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key
