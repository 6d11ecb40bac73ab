"""The charts on the home page: the numbers of organizations and people by month."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import admin
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from orgadmin.access.origin import run_after_response
from orgadmin.gate.answers import get_gate
from orgadmin.models import MonthlyCount, User
from orgadmin.models.monthly_count import get_today

# The maximum number of months that a chart shows.
MAX_MONTHS = 12

# The minimum number of months for which charts are shown.
MIN_MONTHS = 2

# The size of a chart, and the gap between its bars, in SVG units. Pages scale charts.
WIDTH = 288
HEIGHT = 72
GAP = 6


@dataclass(frozen=True)
class Bar:
    x: int
    y: int
    width: int
    height: int
    is_last: bool


@dataclass(frozen=True)
class Chart:
    """A chart with a bar for each month, and the first and last number as text."""

    name: str  # identifies it on the page
    label: str | Promise
    bars: list[Bar]
    first: int
    last: int
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class Month:
    month: datetime.date
    numbers: list[int]  # one for each chart


@dataclass(frozen=True)
class Growth:
    charts: list[Chart]
    months: list[Month]  # the oldest first


def find_growth(request: HttpRequest) -> Growth | None:
    """Return the charts that the person can see. Runs one query.

    Returns None for people who cannot view all organizations, and until there are
    numbers for MIN_MONTHS months. If no worker has updated the numbers today, they are
    updated after this response.
    """
    if not get_gate(request).permits_everywhere("view"):
        return None
    counts = list(MonthlyCount.objects.order_by("-month")[:MAX_MONTHS])
    if not counts or counts[0].counted_on != get_today():
        run_after_response(MonthlyCount.objects.count_today)
    if len(counts) < MIN_MONTHS:
        return None
    counts.reverse()
    labels = {"organizations": _("Organizations")}
    if admin.site._registry[User].has_view_permission(request):
        labels["people"] = _("People")
    charts = []
    for name, label in labels.items():
        values = [getattr(count, name) for count in counts]
        charts.append(make_chart(name, label, values))
    months = []
    for count in counts:
        values = [getattr(count, name) for name in labels]
        months.append(Month(count.month, values))
    return Growth(charts, months)


def make_chart(name: str, label: str | Promise, values: Sequence[int]) -> Chart:
    """Return a chart whose bars start at zero. The last bar is at the right edge.

    `values` are up to MAX_MONTHS numbers, the oldest first.
    """
    step = (WIDTH + GAP) // MAX_MONTHS
    highest = max([*values, 1])
    bars = []
    for number, value in enumerate(values):
        from_the_end = len(values) - number
        height = round(HEIGHT * value / highest)
        bars.append(
            Bar(
                x=WIDTH + GAP - step * from_the_end,
                y=HEIGHT - height,
                width=step - GAP,
                height=height,
                is_last=from_the_end == 1,
            )
        )
    return Chart(name, label, bars, first=values[0], last=values[-1])
