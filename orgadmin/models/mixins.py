"""Mixins for models."""

from __future__ import annotations

from django.db import models, router


class DeletedThroughQuerySet(models.Model):
    """Deletes an instance through its queryset, so that both do the same cleanup."""

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
