"""ColumnMapping: a saved assignment of a file's columns to fields."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.models.stored_import import Import

NAME_LENGTH = 80


class ColumnMapping(models.Model):
    """An assignment of columns to fields that all superusers can use for imports."""

    name = models.CharField(_("name"), max_length=NAME_LENGTH, unique=True)
    # Whether the rows of such files are organizations or people.
    subject = models.CharField(
        max_length=16,
        choices=Import.Subject.choices,
        default=Import.Subject.ORGANIZATIONS,
        db_default=Import.Subject.ORGANIZATIONS,
    )
    # {column title: field name}. An empty field name means that the column is not used.
    fields = models.JSONField(default=dict)
    saved_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
