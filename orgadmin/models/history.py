"""The history of an organization's fields, with django-simple-history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth import get_user_model
from django.db import models
from simple_history.models import HistoricalRecords

from orgadmin.access.roles import ROLES
from orgadmin.models.organization_queryset import ARCHIVE_FIELDS

if TYPE_CHECKING:
    from orgadmin.models import Organization, User

# The fields of an organization that are not part of its history.
UNTRACKED_FIELDS = [
    "search_text",
    "name_key",
    "sort_name",
    "created_at",
    "changed_at",
    "active_admins",
    "admins_end_at",
    *ARCHIVE_FIELDS,
    *(role.key for role in ROLES),
]


class AuthorValues(models.Model):
    """The author of a history record, as values that remain if the user is deleted."""

    # Both are empty if it is not known who made the change. They are also empty in
    # records of the previous release, until the user is deleted.
    history_user_key = models.BigIntegerField(null=True, editable=False)
    history_user_name = models.CharField(
        max_length=150, blank=True, default="", db_default="", editable=False
    )

    class Meta:
        abstract = True


def make_former_user(key: int, username: str) -> User:
    """Return an unsaved user that represents a deleted one."""
    return cast("User", get_user_model()(pk=key, username=username))


def find_author(record: Any) -> User | None:
    """Return the author of a record, or None if it is not known.

    If the account was deleted, returns an unsaved user.
    """
    if record.history_user is None and record.history_user_key is not None:
        return make_former_user(record.history_user_key, record.history_user_name)
    return record.history_user


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
            # Organization.save() writes the first record itself.
            return
        organizations = type(instance).objects.using(using)
        if raw:
            # A fixture may lack the computed texts. Loading it does not write history.
            organizations.write_computed_texts([instance.pk], {"name"})
            return
        if update_fields is not None:
            # The computed texts are made from the stored row, because the instance may
            # have values that were not saved.
            organizations.write_computed_texts([instance.pk], set(update_fields))
        author = getattr(instance, "_history_user", None)
        organizations.keep_history([instance.pk], "~", author)

    def post_delete(
        self, instance: Organization, using: str | None = None, **kwargs: Any
    ) -> None:
        """Do nothing: `OrganizationQuerySet.delete()` writes the last record."""
