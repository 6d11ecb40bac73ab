"""Contact: a contact person of an organization."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from orgadmin.models.fields import LineEmailField, LineField
from orgadmin.models.organization import Organization


class Contact(models.Model):
    """A contact person of an organization.

    Its permissions follow those of the organization: anyone who may view the
    organization may view its contacts, and anyone who may edit it may edit them.
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
    phone = LineField(_("phone"), max_length=50, blank=True)

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        ordering = ["name", "pk"]
        indexes = [models.Index(fields=["name", "id"], name="contact_name")]

    def __str__(self) -> str:
        return self.name
