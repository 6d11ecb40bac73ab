"""The base of the tables whose rows are only ever added: the logs."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import NotSupportedError, models


def refuse_to_change(*args: object, **kwargs: object) -> NoReturn:
    raise NotSupportedError(
        "This log is append-only. Add an event that records the current state instead."
    )


class AppendOnlyQuerySet(models.QuerySet):
    update = refuse_to_change
    delete = refuse_to_change


class AppendOnly(models.Model):
    """A row that can be added, but neither changed nor deleted.

    The manager must come from an `AppendOnlyQuerySet`, and be the base manager, too.
    """

    class Meta:
        abstract = True

    def save(self, **kwargs: Any) -> None:
        if not self._state.adding:
            refuse_to_change()
        super().save(**kwargs)

    delete = refuse_to_change
