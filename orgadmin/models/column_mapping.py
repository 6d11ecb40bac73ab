"""ColumnMapping: what the columns of a kind of file become, saved by name."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.models.stored_import import Import

NAME_LENGTH = 80


class ColumnMapping(models.Model):
    """A choice of columns that all superusers can use for their imports."""

    name = models.CharField(_("name"), max_length=NAME_LENGTH, unique=True)
    # What the rows of such a file are about.
    subject = models.CharField(
        max_length=16,
        choices=Import.Subject.choices,
        default=Import.Subject.ORGANIZATIONS,
        db_default=Import.Subject.ORGANIZATIONS,
    )
    # {title of a column: field}. An empty field means that the column is not used.
    fields = models.JSONField(default=dict)
    saved_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
