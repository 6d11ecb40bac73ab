"""SearchTextField: the text that a search looks in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from django.db import models


def normalize(text: str) -> str:
    """Return the text without case, accents and widths: "muller" then finds "Müller".

    Folding may compose characters that have to be decomposed once more, so this is done
    twice. Vowel signs that are letters of their script are kept.
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character for character in text if not unicodedata.combining(character)
    )


class SearchTextField(models.TextField):
    """The normalized text of other fields, computed by `save()` and `bulk_create()`."""

    # The database stores what was computed, so there is nothing to read back.
    db_returning = False

    def __init__(self, *sources: str, **options: Any) -> None:
        """`sources` are the names of the fields to search in."""
        self.sources = sources
        options.setdefault("blank", True)
        options.setdefault("default", "")
        options.setdefault("db_default", "")
        options.setdefault("editable", False)
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Appear in migrations as a TextField: migrations import nothing of ours."""
        name, _path, _arguments, options = super().deconstruct()
        return name, "django.db.models.TextField", [], options

    def compute(self, instance: models.Model) -> str:
        """Return the text for an instance, from its other fields."""
        values = [str(getattr(instance, source) or "") for source in self.sources]
        return normalize("\n".join(values))

    def pre_save(self, instance: models.Model, add: bool) -> str:
        text = self.compute(instance)
        setattr(instance, self.attname, text)
        return text
