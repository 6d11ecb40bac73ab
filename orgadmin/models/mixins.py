"""What several models share."""

from __future__ import annotations

from django.db import models, router


class DeletedThroughQuerySet(models.Model):
    """Deletes an instance as its queryset deletes rows, so that both clean up alike."""

    class Meta:
        abstract = True

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        using = using or router.db_for_write(type(self), instance=self)
        if self.pk is None:
            return super().delete(using=using)  # raises Django's error
        rows = type(self)._base_manager.using(using).filter(pk=self.pk)
        deleted = rows.delete()
        self.pk = None  # as Django's own delete() does
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]
