"""Contact: a contact person of an organization."""

from __future__ import annotations

from collections.abc import Collection

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from orgadmin.models.fields import (
    LineEmailField,
    LineField,
    PhoneField,
    SortTextField,
)
from orgadmin.models.organization import Organization


class ContactQuerySet(models.QuerySet["Contact"]):
    def lock_organizations(self, *, others: Collection[int] = ()) -> None:
        """Lock the organizations of these contacts until the transaction ends.

        `others` are IDs of more organizations to lock. When a contact changes, a
        database trigger also updates the row of its organization. All code locks an
        organization before its contacts, to prevent deadlocks.
        """
        rows = Organization._base_manager.using(self.db)
        owners = self.order_by().values("organization")
        concerned = rows.filter(models.Q(pk__in=owners) | models.Q(pk__in=others))
        locked = concerned.order_by("pk").select_for_update(no_key=True)
        list(locked.values_list("pk"))

    def delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic(using=self.db):
            self.lock_organizations()
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class Contact(models.Model):
    """A contact person of an organization.

    People who can view the organization can view its contacts, and people who can edit
    the organization can edit them.
    """

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="contacts",
        verbose_name=_("organization"),
    )
    name = LineField(_("name"), max_length=255)
    role = LineField(_("role"), max_length=100, blank=True)
    email = LineEmailField(_("email"), blank=True)
    phone = PhoneField(_("phone"), max_length=50, blank=True)
    # Lists are sorted by this field.
    sort_name = SortTextField("name")

    objects = ContactQuerySet.as_manager()

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        ordering = ["sort_name", "pk"]
        indexes = [
            models.Index(fields=["name", "id"], name="contact_name"),
            models.Index(fields=["sort_name", "id"], name="contact_sort_name"),
        ]

    def __str__(self) -> str:
        return self.name
