"""Reads what Django's signal says about a change of a many-to-many relation."""

from __future__ import annotations

from typing import Any

from django.db import models


def find_rows(
    through: Any,
    field: str,
    related_field: str,
    *,
    instance: models.Model,
    reverse: bool,
    pk_set: set[int] | None,
    using: str,
    **kwargs: Any,
) -> models.QuerySet:
    """Return the rows of a many-to-many table that were added or will be removed.

    `field` is the side that declares the relation. `reverse` means that `instance` is
    on the other side, as in `group.user_set.add()`. Either way, all rows have one side
    in common.
    """
    instance_field = related_field if reverse else field
    other_field = field if reverse else related_field
    rows = through.objects.using(using).filter(**{instance_field: instance.pk})
    if pk_set is not None:
        rows = rows.filter(**{f"{other_field}__in": pk_set})
    return rows
