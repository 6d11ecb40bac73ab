"""The catalogues of translations, and which language the site speaks to whom."""

import gettext
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import skipUnless

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import translation

from orgadmin.admin.django_texts import TEXTS
from orgadmin.models import Organization
from tests.factories import (
    NO_CONTACTS,
    create_organization,
    create_superuser,
    create_user,
)

PROJECT = Path(settings.BASE_DIR)
LOCALE = Path(settings.LOCALE_PATHS[0])

# Placeholders that code fills in, and HTML tags: a translation must keep them.
MARKS = r"%\(\w+\)[sd]|%[sd]|\{\w*\}|</?\w[^>]*>"

needs_gettext = skipUnless(
    shutil.which("msgfmt") and shutil.which("xgettext"), "gettext is missing"
)


def read_catalogue(compiled):
    """Return {msgid: text} of a compiled catalogue.

    The keys of plural forms are (msgid, number of the form).
    """
    catalogue = gettext.GNUTranslations(io.BytesIO(compiled))._catalog
    # The header has an empty key.
    return {key: text for key, text in catalogue.items() if key}


def find_strings(path):
    """Return the msgids of a catalogue, translated or not, as the file has them."""
    text = path.read_text(encoding="utf-8")
    return set(re.findall(r'^msgid (.*(?:\n".*")*)', text, re.MULTILINE))


def make_messages(folder):
    """Copy the project to a folder, and update the catalogues there."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("config", "orgadmin", "templates"):
        shutil.copytree(PROJECT / name, Path(folder, name), ignore=ignore)
    shutil.copy(PROJECT / "manage.py", folder)
    options = ["--all", "--no-wrap", "--no-obsolete"]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DEBUG": "true",
    }
    subprocess.run(
        [sys.executable, "manage.py", "makemessages", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=True,
    )


class CatalogueTests(SimpleTestCase):
    def setUp(self):
        self.paths = sorted(LOCALE.glob("*/LC_MESSAGES/django.po"))
        languages = {path.parts[-3] for path in self.paths}
        self.assertEqual(languages, set(dict(settings.LANGUAGES)) - {"en"})

    def read_compiled(self, path):
        return read_catalogue(path.with_suffix(".mo").read_bytes())

    @needs_gettext
    def test_everything_is_translated_and_compiled(self):
        for path in self.paths:
            with self.subTest(path=path):
                command = ["msgfmt", "--check-format", "--statistics"]
                done = subprocess.run(
                    [*command, "--output-file=-", path],
                    env=os.environ | {"LC_ALL": "C"},
                    capture_output=True,
                )
                statistics = done.stderr.decode().strip()
                self.assertEqual(done.returncode, 0, statistics)
                self.assertRegex(statistics, r"^\d+ translated messages\.$")
                self.assertEqual(
                    read_catalogue(done.stdout),
                    self.read_compiled(path),
                    "Run `make messages`.",
                )

    def test_translations_keep_placeholders_and_tags(self):
        for path in self.paths:
            for key, text in self.read_compiled(path).items():
                # msgfmt checks plural forms.
                if isinstance(key, str):
                    self.assertCountEqual(
                        re.findall(MARKS, key), re.findall(MARKS, text), key
                    )

    @needs_gettext
    def test_catalogues_have_exactly_the_strings_of_the_site(self):
        with tempfile.TemporaryDirectory() as folder:
            make_messages(folder)
            for path in self.paths:
                expected = find_strings(Path(folder, path.relative_to(PROJECT)))
                self.assertEqual(
                    find_strings(path),
                    expected,
                    "Run `make messages`, and translate what is new.",
                )


class LanguageTests(TestCase):
    def setUp(self):
        # Requests leave their language active. The next tests expect English again.
        self.enterContext(translation.override("en"))

    def get(self, language, path="/admin/"):
        return self.client.get(path, headers={"accept-language": language}, follow=True)

    def test_pages_are_in_the_language_of_the_browser_or_else_in_english(self):
        texts = {"de": "Brauchen Sie Zugriff", "en": "Need access?"}
        expected = {
            "de": "de",
            "de-AT,en;q=0.5": "de",
            "en": "en",
            "xx": "en",
            "": "en",
        }
        for header, language in expected.items():
            with self.subTest(header=header):
                response = self.get(header)
                self.assertContains(response, f'<html lang="{language}" dir="ltr"')
                self.assertContains(response, texts[language])

    def test_terms_are_german(self):
        acme = create_organization()
        self.client.force_login(create_user(admin_of=[acme]))
        expected = {
            "/admin/": "Ihre Organisationen",
            f"/admin/orgadmin/organization/{acme.pk}/change/": "Steuernummer",
            "/admin/orgadmin/organization/0/change/": "Organisation „0“ gibt es nicht",
        }
        for path, text in expected.items():
            self.assertContains(self.get("de", path), text)

    def test_pages_of_people_have_no_english_texts_of_django(self):
        self.client.force_login(create_superuser())
        page = f"/admin/orgadmin/user/{create_user().pk}/"
        expected = {
            "/admin/orgadmin/user/add/": "Anmeldung mit Passwort",
            f"{page}change/": "Passwort zurücksetzen",
            f"{page}password/": "geht das bisherige Passwort",
        }
        for path, text in expected.items():
            response = self.get("de", path)
            self.assertContains(response, text)
            for english in [*TEXTS, "If disabled"]:
                self.assertNotContains(response, english)

    def test_stored_texts_are_the_same_in_every_language(self):
        self.client.force_login(create_superuser())
        response = self.client.post(
            "/admin/orgadmin/organization/add/",
            {"name": "Acme", **NO_CONTACTS},
            headers={"accept-language": "de"},
        )
        self.assertEqual(response.headers["Content-Language"], "de")
        with translation.override("de"):
            create_organization("Beta")
            create_organization(" ")
        organizations = Organization.objects.order_by("pk")
        self.assertEqual(
            list(organizations.values_list("admin__name", "reviewer__name")),
            [
                ("Acme Admin", "Acme Reviewer"),
                ("Beta Admin", "Beta Reviewer"),
                ("Organization Admin", "Organization Reviewer"),
            ],
        )
        self.assertEqual(LogEntry.objects.get().change_message, '[{"added": {}}]')

    @override_settings(LANGUAGES=[*settings.LANGUAGES, ("ar", "Arabic")])
    def test_home_page_follows_the_direction_of_the_script(self):
        self.client.force_login(create_superuser())
        self.assertContains(self.get("ar"), '<html lang="ar" dir="rtl"')
