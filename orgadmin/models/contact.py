"""Contact: a contact person of an organization."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from orgadmin.models.organization import Organization
from orgadmin.models.validators import validate_line


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
    name = models.CharField(_("name"), max_length=255, validators=[validate_line])
    role = models.CharField(
        _("role"), max_length=100, blank=True, validators=[validate_line]
    )
    email = models.EmailField(_("email"), blank=True, validators=[validate_line])
    phone = models.CharField(
        _("phone"), max_length=50, blank=True, validators=[validate_line]
    )

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        ordering = ["name", "pk"]
        indexes = [models.Index(fields=["name", "id"], name="contact_name")]

    def __str__(self) -> str:
        return self.name
