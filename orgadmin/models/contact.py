"""The contact model."""

from django.db import models
from django.db.models import CASCADE
from django.utils.translation import gettext_lazy as _

from orgadmin.models.organization import Organization
from orgadmin.models.validators import LINE


class Contact(models.Model):
    """A person whom an organization names. Who may see or change the organization may see or change its contacts."""

    organization = models.ForeignKey(
        Organization, CASCADE, related_name="contacts", verbose_name=_("organization")
    )
    name = models.CharField(_("name"), max_length=255, validators=[LINE])
    role = models.CharField(_("role"), max_length=100, blank=True, validators=[LINE])
    email = models.EmailField(_("e-mail"), blank=True, validators=[LINE])
    phone = models.CharField(_("phone"), max_length=50, blank=True, validators=[LINE])

    class Meta:
        verbose_name, verbose_name_plural = _("contact"), _("contacts")
        ordering = ["name", "pk"]
        indexes = [models.Index(fields=["name", "id"], name="contact_name")]

    def __str__(self):
        return self.name
