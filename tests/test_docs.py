import re
import tomllib
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

PROJECT = Path(settings.BASE_DIR)
DOCS = PROJECT / "docs"
SHOWN_PICTURES = DOCS / "pictures"


def find_shown_pictures():
    """Return the names of the pictures that the README and the docs show."""
    names = set()
    for path in [PROJECT / "README.md", *DOCS.glob("**/*.md")]:
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"\bpictures/([\w-]+\.(?:webp|svg))", text))
    return names


class PictureTests(SimpleTestCase):
    def test_docs_hold_exactly_the_pictures_that_they_show(self):
        stored = {path.name for path in SHOWN_PICTURES.iterdir()}
        self.assertEqual(stored, find_shown_pictures())


class VersionTests(SimpleTestCase):
    def test_changelog_has_a_section_for_the_version(self):
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        changelog = (PROJECT / "CHANGELOG.md").read_text()
        self.assertRegex(changelog, rf"(?m)^## {re.escape(project['version'])} - \d")
