"""The history of an organization's fields, kept by django-simple-history."""

from simple_history.models import HistoricalRecords

from orgadmin.access.roles import ROLES

# The fields of an organization that have no history.
UNTRACKED = ["search_text", *(role.key for role in ROLES)]


class OrganizationRecords(HistoricalRecords):
    """Writes history records through `OrganizationQuerySet.keep_history()`.

    That copies the stored row in SQL, so that a record never contains values that only
    the instance has.
    """

    def post_save(
        self, instance, created, using, raw=False, update_fields=None, **kwargs
    ):
        if created and not raw:
            return  # Organization.save() writes the first record
        organizations = type(instance)._base_manager.using(using)
        if raw:
            # A fixture may contain no search text.
            organizations.write_search_text([instance.pk], {"name"})
            return
        if update_fields is not None:
            # The instance may hold other values than the row.
            organizations.write_search_text([instance.pk], set(update_fields))
        author = getattr(instance, "_history_user", None)
        organizations.keep_history([instance.pk], "~", author)

    def post_delete(self, instance, using=None, **kwargs):
        """Do nothing: `OrganizationQuerySet.delete()` writes the last record."""
