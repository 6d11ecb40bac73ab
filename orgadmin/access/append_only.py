"""The base class of the logs. Code can add rows, but not change or delete them.

Database triggers enforce this for SQL, with a few exceptions, such as the replacement
of names when a person is erased.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import NotSupportedError, models


def refuse_to_change(*args: object, **kwargs: object) -> NoReturn:
    raise NotSupportedError(
        "This log is append-only. Add an event that records the current state instead."
    )


class AppendOnlyQuerySet(models.QuerySet):
    """Refuses to update or delete rows with `NotSupportedError`."""

    update = refuse_to_change
    delete = refuse_to_change


class AppendOnly(models.Model):
    """A row that the ORM refuses to change or delete once it was added.

    Subclasses must use an `AppendOnlyQuerySet` as their manager, and name this manager
    in `Meta.base_manager_name`.
    """

    class Meta:
        abstract = True

    def save(self, **kwargs: Any) -> None:
        if not self._state.adding:
            refuse_to_change()
        super().save(**kwargs)

    delete = refuse_to_change
