"""Where other pages show that an access review, or a request, waits for an answer."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Count
from django.urls import reverse

from orgadmin.models import AccessRequest, ReviewSection


@dataclass(frozen=True)
class OpenRequests:
    """How many people ask an organization for a role."""

    number: int
    url: str


@dataclass(frozen=True)
class Waiting:
    """A review of an organization that waits for an answer."""

    due_on: datetime.date
    open_items: int
    url: str


def find_waiting(pks: Collection[int]) -> dict[int, Waiting]:
    """Return {organization ID: the review that is due first} where there is one.

    Runs one query, or none without organizations.
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
    """Return {organization ID: open requests} where there are any.

    Runs one query, or none without organizations.
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
