"""Helper for receivers of Django's signal `m2m_changed`."""

from __future__ import annotations

from typing import Any

from django.db import models


def find_changed_links(
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

    `field` is the field of the table that points to the model that declares the
    relation; `related_field` points to the other model. The remaining arguments come
    from the signal. `reverse` means that `instance` belongs to the other model, as in
    `group.user_set.add()`.
    """
    instance_field = related_field if reverse else field
    other_field = field if reverse else related_field
    rows = through.objects.using(using).filter(**{instance_field: instance.pk})
    if pk_set is not None:
        rows = rows.filter(**{f"{other_field}__in": pk_set})
    return rows
