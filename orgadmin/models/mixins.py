"""Mixins for models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from django.db import models, router


class DeletedThroughQuerySet(models.Model):
    """Deletes an instance with the queryset's `delete()`, which does more cleanup."""

    class Meta:
        abstract = True

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        using = using or router.db_for_write(type(self), instance=self)
        if self.pk is None:
            # Django raises its usual error.
            return super().delete(using=using)
        rows = type(self)._base_manager.using(using).filter(pk=self.pk)
        deleted = rows.delete()
        # Django's own delete() does the same.
        self.pk = None
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]


class RemembersStored(models.Model):
    """Remembers the stored values of an instance, to find changed fields."""

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # {attribute name of the field, such as "user_id": stored value}
        self._stored: dict[str, Any] = {}

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        instance = super().from_db(*args, **kwargs)
        instance._remember_stored()
        return instance

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: models.QuerySet | None = None,
    ) -> None:
        super().refresh_from_db(using, fields, from_queryset)
        self._remember_stored(fields)

    def _remember_stored(self, names: Iterable[str] | None = None) -> None:
        """Remember the current values of fields as the stored values.

        `names` are the fields that were loaded or saved; None means all.
        """
        for field in self._meta.concrete_fields:
            is_meant = names is None or field.name in names or field.attname in names
            if is_meant and field.attname in self.__dict__:
                self._stored[field.attname] = self.__dict__[field.attname]

    def _find_changed(self) -> set[str]:
        """Return the names of the fields that differ from the stored values.

        Includes fields whose stored value is not known. Leaves out deferred fields.
        """
        changed = set()
        for field in self._meta.concrete_fields:
            if field.primary_key or field.attname not in self.__dict__:
                continue
            is_known = field.attname in self._stored
            value = self.__dict__[field.attname]
            if not is_known or self._stored[field.attname] != value:
                changed.add(field.name)
        return changed
