"""What several models share."""

from django.db import router


class DeletedThroughQuerySet:
    """Deletes an instance as its queryset deletes rows, so that both clean up alike."""

    def delete(self, using=None, keep_parents=False):
        using = using or router.db_for_write(type(self), instance=self)
        if self.pk is None:
            return super().delete(using=using)  # raises Django's error
        rows = type(self)._base_manager.using(using).filter(pk=self.pk)
        deleted = rows.delete()
        self.pk = None  # as Django's own delete() does
        return deleted

    delete.alters_data = True
