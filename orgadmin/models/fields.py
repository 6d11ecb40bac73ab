"""Search text: what a search compares, written so that case, accents and widths make no difference."""

import unicodedata

from django.db import models


def normalize(text):
    """Return text as a search compares it: NFKD, casefolded, without marks, so that "muller" finds "Müller".
    Twice, as folding may compose what then decomposes. Vowel signs that are letters of their scripts stay."""
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character for character in text if not unicodedata.combining(character)
    )


class SearchTextField(models.TextField):
    """The normalized text of the fields named `sources`, computed by save() and bulk_create()."""

    db_returning = False  # what is inserted is what was computed

    def __init__(self, *sources, **options):
        self.sources = sources
        super().__init__(
            **{"blank": True, "default": "", "db_default": "", "editable": False}
            | options
        )

    def deconstruct(self):
        """Be a plain TextField in migrations, so that these import nothing of the app."""
        name, _path, _arguments, options = super().deconstruct()
        return name, "django.db.models.TextField", [], options

    def pre_save(self, instance, add):
        values = (str(getattr(instance, source) or "") for source in self.sources)
        setattr(instance, self.attname, text := normalize("\n".join(values)))
        return text
