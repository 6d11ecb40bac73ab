"""The history of an organization's fields."""

from simple_history.models import HistoricalRecords

from orgadmin.access.roles import ROLES

UNTRACKED = [
    "search_text",
    *(role.key for role in ROLES),
]  # the fields of an organization that have no history


class Records(HistoricalRecords):
    """django-simple-history's records, written by OrganizationQuerySet.keep_history()."""

    def post_save(
        self, instance, created, using, raw=False, update_fields=None, **kwargs
    ):
        if created and not raw:  # save() completes what is new
            return
        rows, user = (
            type(instance)._base_manager.using(using),
            getattr(instance, "_history_user", None),
        )
        if (
            raw or update_fields is not None
        ):  # the instance may hold what is not stored, or no text at all
            rows.write_search_text(
                [instance.pk], {"name"} if raw else set(update_fields)
            )
        if not raw:
            rows.keep_history([instance.pk], "~", user)

    def post_delete(self, instance, using=None, **kwargs): ...
