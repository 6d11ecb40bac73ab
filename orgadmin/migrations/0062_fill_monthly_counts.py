"""Work out how many organizations and people there were in the last twelve months.

For organizations, the history tells when each was added or deleted. For people, only
those who are still there are known.
"""

from collections import Counter
from datetime import datetime, time

from django.db import migrations
from django.db.models import Count
from django.db.models.functions import TruncMonth
from django.utils import timezone

MONTHS = 12


def fill(apps, schema_editor):
    alias = schema_editor.connection.alias
    organizations = apps.get_model("orgadmin", "Organization")._base_manager.using(
        alias
    )
    people = apps.get_model("orgadmin", "User")._base_manager.using(alias)
    counts = apps.get_model("orgadmin", "MonthlyCount").objects.using(alias)
    records = apps.get_model("orgadmin", "HistoricalOrganization").objects.using(alias)
    zone = timezone.get_default_timezone()
    today = timezone.localdate(timezone=zone)
    months = list_months(today)
    since = timezone.make_aware(datetime.combine(months[-1], time.min), zone)

    records = records.filter(history_date__gte=since).order_by()
    added = count_by_month(records.filter(history_type="+"), "history_date", zone)
    added.subtract(
        count_by_month(records.filter(history_type="-"), "history_date", zone)
    )
    joined = count_by_month(people.filter(date_joined__gte=since), "date_joined", zone)

    # Backwards, from what there is today.
    organization_count = organizations.count()
    person_count = people.count()
    for month in months:
        if organization_count <= 0 and person_count <= 0:
            break
        counts.get_or_create(
            month=month,
            defaults={
                "counted_on": today,
                "organizations": max(0, organization_count),
                "people": max(0, person_count),
            },
        )
        organization_count -= added[month]
        person_count -= joined[month]


def list_months(today):
    """Return the first days of the last months, the current one first."""
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        last = months[-1]
        if last.month == 1:
            months.append(last.replace(year=last.year - 1, month=12))
        else:
            months.append(last.replace(month=last.month - 1))
    return months


def count_by_month(rows, field, zone):
    """Return {first day of a month: number of rows}. Runs one query."""
    by_month = rows.order_by().annotate(month=TruncMonth(field, tzinfo=zone))
    numbers = by_month.values_list("month").annotate(number=Count("pk"))
    return Counter({month.date(): number for month, number in numbers})


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0061_monthly_counts")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
