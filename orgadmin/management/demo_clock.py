"""A clock that is set back, so that the demo can make changes in the past."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone


@contextmanager
def days_ago(days: int, hour: int = 10) -> Iterator[None]:
    """Make `timezone.now()` return a time on an earlier day.

    The clock starts at the given hour (UTC) of that day, and continues from there.
    """
    began = datetime.datetime.now(datetime.UTC)
    start = began - datetime.timedelta(days=days)
    start = start.replace(hour=hour, minute=0, second=0, microsecond=0)

    class EarlierClock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return start + (datetime.datetime.now(datetime.UTC) - began)

    # `timezone.now()`, which field defaults also call, uses this module attribute.
    real = timezone.datetime  # type: ignore[attr-defined]
    timezone.datetime = EarlierClock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        timezone.datetime = real  # type: ignore[attr-defined]
