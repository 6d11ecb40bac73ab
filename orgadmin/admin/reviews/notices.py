"""Finds access reviews and requests that wait for an answer, for notices on pages."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Count
from django.urls import reverse

from orgadmin.models import AccessRequest, ReviewSection


@dataclass(frozen=True)
class OpenRequests:
    """The number of open requests for access to an organization."""

    number: int
    url: str


@dataclass(frozen=True)
class Waiting:
    """A review that waits for the answer of an organization."""

    due_on: datetime.date
    open_items: int
    url: str


def find_waiting(pks: Collection[int]) -> dict[int, Waiting]:
    """Return the waiting reviews with the earliest due dates, as {organization ID: …}.

    Organizations without a waiting review are left out. Runs one query, or none if
    `pks` is empty.
    """
    waiting: dict[int, Waiting] = {}
    if not pks:
        return waiting
    sections = ReviewSection.objects.waiting().filter(organization_key__in=pks)
    rows = sections.order_by("-review__due_on", "-review_id").values_list(
        "organization_key", "review__due_on", "open_items"
    )
    for pk, due_on, open_items in rows:
        url = reverse("admin:orgadmin_organization_review", args=[pk])
        waiting[pk] = Waiting(due_on, open_items, url)
    return waiting


def find_open_requests(pks: Collection[int]) -> dict[int, OpenRequests]:
    """Return {organization ID: OpenRequests}.

    Organizations without open requests are left out. Runs one query, or none if `pks`
    is empty.
    """
    if not pks:
        return {}
    requests = AccessRequest.objects.open().filter(organization__in=pks)
    counted = requests.order_by().values("organization").annotate(number=Count("pk"))
    found = {}
    for pk, number in counted.values_list("organization", "number"):
        url = reverse("admin:orgadmin_organization_requests", args=[pk])
        found[pk] = OpenRequests(number, url)
    return found
