"""The history of an organization's fields, kept by django-simple-history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from simple_history.models import HistoricalRecords

from orgadmin.access.roles import ROLES

if TYPE_CHECKING:
    from orgadmin.models import Organization

# The fields of an organization that have no history.
UNTRACKED = ["search_text", "name_key", *(role.key for role in ROLES)]


class OrganizationRecords(HistoricalRecords):
    """Writes history records through `OrganizationQuerySet.keep_history()`.

    `keep_history()` copies the stored row in SQL, so a record never contains unsaved
    values of the instance.
    """

    def post_save(
        self,
        instance: Organization,
        created: bool,
        using: str,
        raw: bool = False,
        update_fields: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if created and not raw:
            # Organization.save() writes the first record.
            return
        organizations = type(instance).objects.using(using)
        if raw:
            # A fixture may lack the computed texts. Loading one writes no history.
            organizations.write_computed_texts([instance.pk], {"name"})
            return
        if update_fields is not None:
            # The computed texts have to match the row, so they are made from the row:
            # the instance may have values that were not saved.
            organizations.write_computed_texts([instance.pk], set(update_fields))
        author = getattr(instance, "_history_user", None)
        organizations.keep_history([instance.pk], "~", author)

    def post_delete(
        self, instance: Organization, using: str | None = None, **kwargs: Any
    ) -> None:
        """Do nothing: `OrganizationQuerySet.delete()` writes the last record."""
