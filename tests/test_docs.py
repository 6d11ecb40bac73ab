import re
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

DOCS = Path(settings.BASE_DIR, "docs")
SHOWN_PICTURES = DOCS / "pictures"


def find_shown_pictures():
    """Return the names of the pictures that the README and the docs show."""
    names = set()
    for path in [DOCS.parent / "README.md", *DOCS.glob("**/*.md")]:
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"\bpictures/([\w-]+\.(?:webp|svg))", text))
    return names


class PictureTests(SimpleTestCase):
    def test_docs_hold_exactly_the_pictures_that_they_show(self):
        stored = {path.name for path in SHOWN_PICTURES.iterdir()}
        self.assertEqual(stored, find_shown_pictures())
