"""The catalogues, and what the site says to whom in which language."""

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

from orgadmin.models import Organization

from .factories import NO_CONTACTS, create_organization, create_superuser, create_user

[LOCALE] = map(Path, settings.LOCALE_PATHS)
MARKS = r"%\(\w+\)[sd]|%[sd]|\{\w*\}|</?\w[^>]*>"  # what code fills in, and HTML
needs_gettext = skipUnless(
    shutil.which("msgfmt") and shutil.which("xgettext"), "gettext is missing"
)


def read(compiled):
    """Return {msgid: text} of a compiled catalogue; for a plural the keys are (msgid, number of the form)."""
    catalogue = gettext.GNUTranslations(io.BytesIO(compiled))._catalog
    return {key: text for key, text in catalogue.items() if key}  # without the header


def compile_catalogue(path):
    """Return what msgfmt makes of a catalogue, and what it says of it. Raises AssertionError where it finds errors."""
    command = ["msgfmt", "--check-format", "--statistics", "--output-file=-", path]
    done = subprocess.run(
        command, capture_output=True, env=os.environ | {"LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stderr.decode()
    return read(done.stdout), done.stderr.decode().strip()


def find_strings(path):
    """Return the msgids of a catalogue, translated or not, as they are written there."""
    return set(re.findall(r'^msgid (.*(?:\n".*")*)', path.read_text(), re.MULTILINE))


class CatalogueTests(SimpleTestCase):
    def setUp(self):
        self.paths = sorted(LOCALE.glob("*/LC_MESSAGES/django.po"))
        self.assertEqual(
            {path.parts[-3] for path in self.paths},
            set(dict(settings.LANGUAGES)) - {"en"},
        )

    @needs_gettext
    def test_all_is_translated_and_compiled(self):
        for path in self.paths:
            catalogue, said = compile_catalogue(path)
            self.assertRegex(said, r"^\d+ translated messages\.$", path)
            self.assertEqual(
                catalogue,
                read(path.with_suffix(".mo").read_bytes()),
                "Run make messages.",
            )

    def test_what_code_fills_in_is_kept(self):
        for path in self.paths:
            for key, text in read(path.with_suffix(".mo").read_bytes()).items():
                if isinstance(key, str):  # of plurals msgfmt takes care
                    self.assertCountEqual(
                        re.findall(MARKS, key), re.findall(MARKS, text), key
                    )

    @needs_gettext
    def test_has_each_string_of_ours_and_no_other(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("config", "orgadmin", "templates"):
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(
                    Path(settings.BASE_DIR, name), Path(folder, name), ignore=ignore
                )
            shutil.copy(Path(settings.BASE_DIR, "manage.py"), folder)
            command = [
                sys.executable,
                "manage.py",
                "makemessages",
                "--all",
                "--no-wrap",
                "--no-obsolete",
            ]
            environment = os.environ | {
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "DEBUG": "true",
            }
            subprocess.run(
                command, check=True, capture_output=True, cwd=folder, env=environment
            )
            for path in self.paths:
                wanted = find_strings(Path(folder, path.relative_to(settings.BASE_DIR)))
                self.assertEqual(
                    find_strings(path),
                    wanted,
                    "Run make messages, and translate what is new.",
                )


class LanguageTests(TestCase):
    def get(self, language, path="/admin/"):
        return self.client.get(path, headers={"accept-language": language}, follow=True)

    def test_a_page_is_in_the_language_of_the_browser_or_else_in_english(self):
        german, english = ("de", "Brauchen Sie Zugriff"), ("en", "Need access?")
        wanted = {
            "de": german,
            "de-AT,en;q=0.5": german,
            "en": english,
            "xx": english,
            "": english,
        }
        for language, (code, text) in wanted.items():
            with self.subTest(language=language):
                response = self.get(language)
                self.assertContains(response, f'<html lang="{code}" dir="ltr"')
                self.assertContains(response, text)

    def test_terms_are_german(self):
        acme = create_organization()
        self.client.force_login(create_user(admin_of=[acme]))
        self.assertContains(self.get("de"), "Ihre Organisationen")
        self.assertContains(
            self.get("de", f"/admin/orgadmin/organization/{acme.pk}/change/"),
            "Steuernummer",
        )
        self.assertContains(
            self.get("de", "/admin/orgadmin/organization/0/change/"),
            "Organisation „0“ gibt es nicht",
        )

    def test_what_is_stored_is_the_same_in_every_language(self):
        self.client.force_login(create_superuser())
        page, values = (
            "/admin/orgadmin/organization/add/",
            {"name": "Acme", **NO_CONTACTS},
        )
        response = self.client.post(page, values, headers={"accept-language": "de"})
        self.assertEqual(response.headers["Content-Language"], "de")
        with translation.override("de"):
            create_organization("Beta")
            create_organization(" ")
        groups = Organization.objects.order_by("pk").values_list(
            "admin__name", "reviewer__name"
        )
        names = [
            (f"{base} Admin", f"{base} Reviewer")
            for base in ("Acme", "Beta", "Organization")
        ]
        self.assertEqual(list(groups), names)
        self.assertEqual(LogEntry.objects.get().change_message, '[{"added": {}}]')

    @override_settings(LANGUAGES=[*settings.LANGUAGES, ("ar", "Arabic")])
    def test_the_front_page_follows_the_direction_of_the_script(self):
        self.client.force_login(create_superuser())
        self.assertContains(self.get("ar"), '<html lang="ar" dir="rtl"')
