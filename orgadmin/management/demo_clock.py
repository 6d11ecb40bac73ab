"""A clock that is behind, so that the demo's past is in the last months."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone


@contextmanager
def days_ago(days: int, hour: int = 10) -> Iterator[None]:
    """Let `timezone.now()` return the time that it was on an earlier day.

    It is the given hour in UTC on that day, and it goes on from there.
    """
    began = datetime.datetime.now(datetime.UTC)
    start = began - datetime.timedelta(days=days)
    start = start.replace(hour=hour, minute=0, second=0, microsecond=0)

    class SlowClock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return start + (datetime.datetime.now(datetime.UTC) - began)

    # Django's `now()`, which the defaults of fields also call, asks this class.
    real = timezone.datetime  # type: ignore[attr-defined]
    timezone.datetime = SlowClock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        timezone.datetime = real  # type: ignore[attr-defined]
