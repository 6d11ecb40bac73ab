"""The end of a membership: it counts until then, by the database's clock.

Application servers may have wrong clocks. The database has one clock, so a membership
ends at the same moment for all servers. At the moment `ends_at` itself, the membership
no longer counts.

People choose a day. The membership ends when that day is over in the site's time zone.
"""

import datetime

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.formats import date_format

from orgadmin.access.sql import CLOCKS

# {database vendor: condition}, for statements that use the table alias "membership"
NOT_ENDED = {
    vendor: f"(membership.ends_at IS NULL OR membership.ends_at > {clock})"
    for vendor, clock in CLOCKS.items()
}


def not_ended(using: str = "default") -> str:
    """Return the SQL condition that a membership has not ended."""
    return NOT_ENDED[connections[using].vendor]


def is_current(path: str = "") -> Q:
    """Return the queryset condition that a membership has not ended.

    `path` leads to the membership, such as "memberships__".
    """
    return Q(**{f"{path}ends_at": None}) | Q(**{f"{path}ends_at__gt": Now()})


def find_start_of_next_day(date: datetime.date) -> datetime.datetime:
    """Return the moment at which a date has ended in the site's time zone.

    If clocks are set back at midnight, the last hour of the day occurs twice. The
    result is then the end of the second one.
    """
    next_day = date + datetime.timedelta(days=1)
    midnight = datetime.datetime.combine(next_day, datetime.time.min)
    return timezone.make_aware(midnight, timezone.get_default_timezone())


def show_end(ends_at: datetime.datetime) -> str:
    """Return the last day of a membership, such as "Dec. 31, 2026", in the site's zone.

    If the membership does not end at the end of a day, returns the date and the time.
    """
    site = timezone.get_default_timezone()
    last = timezone.localtime(ends_at - datetime.timedelta(microseconds=1), site)
    if ends_at == find_start_of_next_day(last.date()):
        return date_format(last.date(), "DATE_FORMAT")
    return date_format(timezone.localtime(ends_at, site), "DATETIME_FORMAT")
