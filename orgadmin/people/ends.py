"""The planned end of a membership, as people see and choose it.

People choose a day. The membership ends at the end of this day in the site's time zone.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.ends import find_start_of_next_day, show_end

# The button on the People page extends a membership by this time.
YEAR = datetime.timedelta(days=365)

# Within this time before the end, pages say how many days are left, and emails remind
# of it.
SOON = datetime.timedelta(days=7)

# Within this time before the end, a button to extend the membership is shown, and
# platform staff see that an organization will lose its last admin.
FORESEEN = datetime.timedelta(days=30)

# Later years are refused as typing mistakes.
LAST_YEAR = 2999


class UnusableDay(ValueError):
    """A day that cannot be the last day of a membership. `str()` gives the reason."""


@dataclass(frozen=True)
class PlannedEnd:
    """The end of a membership. `str()` returns its last day."""

    at: datetime.datetime

    def __str__(self) -> str:
        return show_end(self.at)

    @property
    def last_day(self) -> datetime.date:
        return find_last_day(self.at)

    @property
    def is_soon(self) -> bool:
        return self.at - timezone.now() <= SOON

    @property
    def is_foreseen(self) -> bool:
        return self.at - timezone.now() <= FORESEEN

    @property
    def days_left(self) -> str:
        """How soon the membership ends, such as "Ends tomorrow"."""
        days = (self.last_day - find_today()).days
        if days <= 0:
            return _("Ends today")
        if days == 1:
            return _("Ends tomorrow")
        return ngettext("Ends in %d day", "Ends in %d days", days) % days

    @property
    def extended_day(self) -> datetime.date:
        """The last day of the membership if it is extended by a year."""
        try:
            return self.last_day.replace(year=self.last_day.year + 1)
        except ValueError:
            # The day is February 29, and the next year is not a leap year.
            return self.last_day + YEAR

    @property
    def shown_extended_day(self) -> str:
        return date_format(self.extended_day, "DATE_FORMAT")


def find_last_day(ends_at: datetime.datetime) -> datetime.date:
    """Return the last day of a membership, in the site's time zone."""
    site = timezone.get_default_timezone()
    return timezone.localdate(ends_at - datetime.timedelta(microseconds=1), site)


def has_same_day(
    first: datetime.datetime | None, second: datetime.datetime | None
) -> bool:
    """Return whether two ends have the same last day, or are both None."""
    if first is None or second is None:
        return first is second
    return find_last_day(first) == find_last_day(second)


def find_today() -> datetime.date:
    """Return today's date in the site's time zone."""
    return find_day(timezone.now())


def find_day(moment: datetime.datetime) -> datetime.date:
    """Return the date of a moment in the site's time zone."""
    return timezone.localdate(moment, timezone.get_default_timezone())


def find_end_of_day(day: datetime.date) -> datetime.datetime:
    """Return the moment at which a membership with this last day ends.

    Raises `UnusableDay` if the day has passed, or is too far in the future.
    """
    if day < find_today():
        raise UnusableDay(_("This day has passed. Choose today or a later day."))
    if day.year > LAST_YEAR:
        raise UnusableDay(
            _("This day is too far in the future. Choose a day before the year 3000.")
        )
    return find_start_of_next_day(day)


def loses_last_admin(until: datetime.datetime) -> Q:
    """Return the condition that an organization loses its last active admin by `until`.

    It is false for organizations without an active admin, and for archived ones.
    """
    return Q(archived_at=None, admins_end_at__gt=Now(), admins_end_at__lte=until)


def plan_end(ends_at: datetime.datetime | None) -> PlannedEnd | None:
    """Return the end as a `PlannedEnd`, or None if there is no end."""
    return PlannedEnd(ends_at) if ends_at is not None else None
