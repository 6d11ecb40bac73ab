"""MonthlyCount: how many organizations and people there were in a month."""

from __future__ import annotations

import datetime

from django.db import models
from django.utils import timezone

from orgadmin.models.organization import Organization
from orgadmin.models.user import User


class MonthlyCountQuerySet(models.QuerySet["MonthlyCount"]):
    def count_today(self) -> None:
        """Store today's numbers, unless they were counted today already.

        Pages show the stored numbers, because counting a million rows takes too long.
        """
        today = get_today()
        if self.filter(month=find_month(today), counted_on=today).exists():
            return
        self.update_or_create(
            month=find_month(today),
            defaults={
                "counted_on": today,
                "organizations": Organization.objects.unarchived().count(),
                "people": User.objects.order_by().count(),
            },
        )


class MonthlyCount(models.Model):
    """The numbers on the last day of a month on which they were counted."""

    month = models.DateField(unique=True)  # its first day
    counted_on = models.DateField()
    organizations = models.PositiveIntegerField()  # without archived ones
    people = models.PositiveIntegerField()  # all accounts, including inactive ones

    objects = MonthlyCountQuerySet.as_manager()

    class Meta:
        ordering = ["-month"]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


def get_today() -> datetime.date:
    """Return today's date in the site's time zone, not the person's."""
    return timezone.localdate(timezone=timezone.get_default_timezone())


def find_month(date: datetime.date) -> datetime.date:
    return date.replace(day=1)
