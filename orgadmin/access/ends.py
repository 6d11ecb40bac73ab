"""When a membership counts: until its end, by the clock of the database.

Application servers may have wrong clocks. The database has one clock, so a membership
ends at the same moment for all of them. The moment at which it ends no longer counts.

People choose a day. The membership ends when that day is over in the site's time zone.
"""

import datetime

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.formats import date_format

from orgadmin.access.sql import CLOCKS

# {database: the condition}, for statements that name the table "membership"
NOT_ENDED = {
    vendor: f"(membership.ends_at IS NULL OR membership.ends_at > {clock})"
    for vendor, clock in CLOCKS.items()
}


def not_ended(using: str = "default") -> str:
    """Return the condition in SQL that a membership counts."""
    return NOT_ENDED[connections[using].vendor]


def is_current(path: str = "") -> Q:
    """Return the condition for querysets that a membership counts.

    `path` leads to the membership, such as "memberships__".
    """
    return Q(**{f"{path}ends_at": None}) | Q(**{f"{path}ends_at__gt": Now()})


def find_start_of_next_day(date: datetime.date) -> datetime.datetime:
    """Return the moment at which a date has ended in the site's time zone.

    The last hour of a day can occur twice, when the clocks are changed at midnight.
    Midnight itself is always the start of the next day.
    """
    next_day = date + datetime.timedelta(days=1)
    midnight = datetime.datetime.combine(next_day, datetime.time.min)
    return timezone.make_aware(midnight, timezone.get_default_timezone())


def show_end(ends_at: datetime.datetime) -> str:
    """Return the last day of a membership, in the site's time zone: "Dec. 31, 2026".

    People choose a day, at whose end the membership ends. The time follows if it ends
    at another time of the day.
    """
    site = timezone.get_default_timezone()
    last = timezone.localtime(ends_at - datetime.timedelta(microseconds=1), site)
    if ends_at == find_start_of_next_day(last.date()):
        return date_format(last.date(), "DATE_FORMAT")
    return date_format(timezone.localtime(ends_at, site), "DATETIME_FORMAT")
