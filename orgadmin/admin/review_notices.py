"""Where other pages show that an access review waits for an answer."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass

from django.urls import reverse

from orgadmin.models import ReviewSection
from orgadmin.models.access_review import is_answerable


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
    sections = ReviewSection.objects.unanswered().filter(
        is_answerable("review__"), organization_key__in=pks
    )
    rows = sections.order_by("-review__due_on", "-review").values_list(
        "organization_key", "review__due_on", "open_items"
    )
    for pk, due_on, open_items in rows:
        url = reverse("admin:orgadmin_organization_review", args=[pk])
        waiting[pk] = Waiting(due_on, open_items, url)
    return waiting
