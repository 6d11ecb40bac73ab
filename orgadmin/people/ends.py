"""When a membership is planned to end, in the words and days of people.

People choose a day. The membership ends at the end of it, in the site's time zone.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.ends import show_end
from orgadmin.models import Membership

# By how much the button on the People page extends a membership.
EXTENSION = datetime.timedelta(days=90)

# How long before the end pages say so in words, and mail reminds of it.
SOON = datetime.timedelta(days=7)

# How long before it platform staff see that an organization loses its last admin.
FORESEEN = datetime.timedelta(days=30)


@dataclass(frozen=True)
class PlannedEnd:
    """The end of a membership. As text, its last day."""

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
    def days_left(self) -> str:
        """In how many days it is: "Ends tomorrow"."""
        days = (self.last_day - find_today()).days
        if days <= 0:
            return _("Ends today")
        if days == 1:
            return _("Ends tomorrow")
        return ngettext("Ends in %d day", "Ends in %d days", days) % days

    @property
    def extended_day(self) -> datetime.date:
        """The last day of the membership if it is extended."""
        return self.last_day + EXTENSION

    @property
    def shown_extended_day(self) -> str:
        return date_format(self.extended_day, "DATE_FORMAT")


def find_last_day(ends_at: datetime.datetime) -> datetime.date:
    """Return the last day of a membership, in the site's time zone."""
    site = timezone.get_default_timezone()
    return timezone.localdate(ends_at - datetime.timedelta(microseconds=1), site)


def find_today() -> datetime.date:
    """Return the day of the site, which is the same for everyone."""
    return timezone.localdate(timezone=timezone.get_default_timezone())


def find_last_ends(until: datetime.datetime) -> QuerySet[Membership]:
    """Return the memberships of admins that end by then, if no active admin stays.

    Starts with the index of ends, so it costs as much as there are memberships that end
    by then, and less if only the first rows are read.
    """
    admins = Membership.objects.current().filter(user__is_active=True)
    staying = admins.filter(
        Q(ends_at=None) | Q(ends_at__gt=until), group=OuterRef("group")
    )
    ending = admins.filter(
        ~Exists(staying),
        ends_at__lte=until,
        group__administrators_of__archived_at=None,
        group__administrators_of__isnull=False,
    )
    return ending.order_by()


def loses_last_admin(until: datetime.datetime) -> Q:
    """Return the condition that an organization loses its last active admin by then."""
    return Q(admin__in=find_last_ends(until).values("group"))


def plan_end(ends_at: datetime.datetime | None) -> PlannedEnd | None:
    return PlannedEnd(ends_at) if ends_at is not None else None
