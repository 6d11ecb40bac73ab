"""SearchTextField: a normalized copy of the fields that people can search."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from django.db import models


def normalize(text: str) -> str:
    """Return the text without case, accents and widths: "muller" then finds "Müller".

    Case folding can produce characters that must be decomposed again, so both steps run
    twice. Vowel signs that are letters of their script are kept.
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character for character in text if not unicodedata.combining(character)
    )


class SearchTextField(models.TextField):
    """The normalized text of other fields, computed by `save()` and `bulk_create()`."""

    # The database stores the computed text as it is, so INSERT need not return it.
    db_returning = False

    def __init__(self, *sources: str, **options: Any) -> None:
        """`sources` are the names of the fields whose text is copied into this one."""
        self.sources = sources
        options.setdefault("blank", True)
        options.setdefault("default", "")
        options.setdefault("db_default", "")
        options.setdefault("editable", False)
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Appear in migrations as a TextField, so they need not import this class."""
        name, _path, _arguments, options = super().deconstruct()
        return name, "django.db.models.TextField", [], options

    def compute(self, instance: models.Model) -> str:
        """Return the search text of an instance, made from its other fields."""
        values = [str(getattr(instance, source) or "") for source in self.sources]
        return normalize("\n".join(values))

    def pre_save(self, instance: models.Model, add: bool) -> str:
        text = self.compute(instance)
        setattr(instance, self.attname, text)
        return text
