"""The catalogues of translations, and which person gets which language."""

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
from django.contrib.auth.models import Group
from django.db.models import CASCADE
from django.template.base import Lexer, TokenType
from django.test import (
    Client,
    SimpleTestCase,
    TestCase,
    override_settings,
)
from django.utils import translation
from django.utils.text import capfirst
from django.utils.translation import trans_real

from orgadmin.admin.quotes import quote
from orgadmin.models import Contact, Organization, User
from orgadmin.people.message import QUOTES
from tests.factories import NO_CONTACTS, create_organization, create_superuser
from tests.test_matrix import World, fill, walk
from tests.untranslated import MARK, find_unmarked, find_untranslated, list_typed_words

PROJECT = Path(settings.BASE_DIR)
LOCALE = Path(settings.LOCALE_PATHS[0])

LANGUAGES = dict(settings.LANGUAGES)
TRANSLATIONS = sorted(set(LANGUAGES) - {"en"})

# Every quotation mark of every language. Apostrophes are not among them.
QUOTATION_MARKS = set('"“”„‟«»‹›「」『』')

# {language: what is wrong before punctuation}. French has a no-break space there.
WRONG_SPACES = {"fr": r"(?<!\u00a0)[;?!»]|(?<!\u00a0):(?=\s|$)|«(?!\u00a0)|\.{3}|'"}
WRONG_SPACES_ELSEWHERE = r"\s[:;?!](?=\s|$)|\.{3}"

# A name that makemessages does not know, so it misses the texts.
UNKNOWN_NAME = re.compile(r"gettext(?:_lazy|_noop)? as (?!_\b)\w+")

# Fields that no form changes
READ_ONLY = ("id", "date_joined", "last_login")

# How templates may write a date: one format for dates, and one for dates with times.
# The others are for computers and for the name of the time zone.
DATE_FORMATS = {
    "DATE_FORMAT",
    "DATETIME_FORMAT",
    "TIME_FORMAT",
    "YEAR_MONTH_FORMAT",
    "T",
    "Y-m-d",
    "c",
}
DATE_FILTER = re.compile(r"""\|date:["']([^"']+)""")

# A colon after a label. {% translate ":" %} also writes the space that French has.
COLON = re.compile(r":(?=[\s<]|$)")

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


def find_dependent_models(model):
    """Return the models of which rows are deleted with a row of this one."""
    models = {field.remote_field.through for field in model._meta.many_to_many}
    for relation in model._meta.related_objects:
        if relation.on_delete is CASCADE:
            models.add(relation.related_model)
            models |= find_dependent_models(relation.related_model)
    return models


class CatalogueTests(SimpleTestCase):
    def setUp(self):
        self.paths = sorted(LOCALE.glob("*/LC_MESSAGES/django.po"))
        languages = {path.parts[-3] for path in self.paths}
        self.assertEqual(languages, set(TRANSLATIONS))

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
                    self.assertCountEqual(MARK.findall(key), MARK.findall(text), key)

    def list_texts(self, path):
        """Return translations, with an "x" for each placeholder and HTML tag."""
        texts = self.read_compiled(path).values()
        return [MARK.sub("x", text) for text in texts]

    def test_names_are_in_the_quotation_marks_of_the_language(self):
        for path in self.paths:
            with translation.override(path.parts[-3]):
                opening, closing = quote("\0").split("\0")
            # Otherwise, names in emails could end their quotation.
            for mark in (opening, closing):
                self.assertRegex(mark, QUOTES, "Add the mark to QUOTES in message.py.")
            for text in self.list_texts(path):
                with self.subTest(path=path, text=text):
                    self.assertEqual(text.count(opening), text.count(closing))
                    rest = text.replace(opening, "").replace(closing, "")
                    self.assertEqual(QUOTATION_MARKS & set(rest), set())

    def test_spaces_before_punctuation_are_those_of_the_language(self):
        for path in self.paths:
            wrong = WRONG_SPACES.get(path.parts[-3], WRONG_SPACES_ELSEWHERE)
            for text in self.list_texts(path):
                with self.subTest(path=path):
                    self.assertNotRegex(text, wrong)

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


def list_labels(template):
    """Return the tags outside of translations that a colon follows."""
    labels = []
    is_translated = False
    previous = ""
    for token in Lexer(template).tokenize():
        if token.token_type == TokenType.BLOCK:
            name = token.contents.split()[0]
            if name in ("blocktranslate", "endblocktranslate"):
                is_translated = name == "blocktranslate"
        is_text = token.token_type == TokenType.TEXT
        if is_text and previous and not is_translated and COLON.match(token.contents):
            labels.append(previous)
        previous = "" if is_text else token.contents
    return labels


class DeletedModelTests(SimpleTestCase):
    """The page that asks before something is deleted counts related objects."""

    def test_names_of_models_that_are_deleted_with_others_are_translated(self):
        models = set()
        for model in (User, Organization, Group):
            models |= find_dependent_models(model)
        self.assertGreater(len(models), 10)
        for model in models:
            name = str(model._meta.verbose_name_plural)
            for language in TRANSLATIONS:
                with self.subTest(model=model, language=language):
                    self.assertIn(name, trans_real.translation(language)._catalog)


class TemplateTests(SimpleTestCase):
    def test_all_texts_are_marked_for_translation(self):
        for path in sorted(Path(PROJECT, "templates").glob("**/*.*")):
            with self.subTest(path=path):
                self.assertEqual(find_unmarked(path.read_text()), [])

    def test_makemessages_knows_the_functions_that_translate(self):
        for path in sorted(Path(PROJECT, "orgadmin").glob("**/*.py")):
            with self.subTest(path=path):
                self.assertNotRegex(path.read_text(), UNKNOWN_NAME)

    def test_each_language_has_one_format_for_dates(self):
        """Short dates would be another one, and mean another day in another country."""
        for path in sorted(Path(PROJECT, "templates").glob("**/*.*")):
            with self.subTest(path=path):
                formats = set(DATE_FILTER.findall(path.read_text()))
                self.assertLessEqual(formats, DATE_FORMATS)
        for path in sorted(Path(PROJECT, "orgadmin").glob("**/*.py")):
            with self.subTest(path=path):
                self.assertNotIn('"SHORT_DATE', path.read_text())

    def test_colons_are_written_as_in_the_language(self):
        for path in sorted(Path(PROJECT, "templates").glob("**/*.html")):
            labels = list_labels(path.read_text())
            with self.subTest(path=path):
                self.assertEqual(
                    labels, [], 'Write {% translate ":" %} instead of ":".'
                )


class LanguageTests(TestCase):
    def setUp(self):
        # Requests leave their language active. The next tests expect English again.
        self.enterContext(translation.override("en"))

    def get(self, language, path="/admin/"):
        return self.client.get(path, headers={"accept-language": language}, follow=True)

    def test_pages_are_in_the_language_of_the_browser_or_else_in_english(self):
        expected = {"en": "en", "xx": "en", "": "en"}
        for language in LANGUAGES:
            expected[language] = language
            expected[f"{language}-CH,en;q=0.5"] = language
        for header, language in expected.items():
            with self.subTest(header=header):
                response = self.get(header)
                self.assertContains(response, f'<html lang="{language}" dir="ltr"')
                with translation.override(language):
                    self.assertContains(response, translation.gettext("Password"))

    def test_languages_are_called_what_their_speakers_call_them(self):
        self.client.force_login(create_superuser())
        for language in LANGUAGES:
            response = self.get(language, "/admin/account/")
            for code, name in LANGUAGES.items():
                info = translation.get_language_info(code)
                with self.subTest(language=language, name=name):
                    self.assertEqual(name, info["name_local"].capitalize())
                    self.assertContains(response, name)

    def test_stored_texts_are_the_same_in_every_language(self):
        self.client.force_login(create_superuser())
        expected = []
        for language in LANGUAGES:
            response = self.client.post(
                "/admin/orgadmin/organization/add/",
                {"name": f"Acme {language}", **NO_CONTACTS},
                headers={"accept-language": language},
            )
            self.assertEqual(response.headers["Content-Language"], language)
            with translation.override(language):
                create_organization(f"Beta {language}")
                unnamed = create_organization(" ")
            self.assertRegex(unnamed.admin.name, r"^Organization( \d+)? Admin$")
            for name in (f"Acme {language}", f"Beta {language}"):
                expected.append((f"{name} Admin", f"{name} Reviewer"))
        organizations = Organization.objects.exclude(name=" ").order_by("pk")
        self.assertEqual(
            list(organizations.values_list("admin__name", "reviewer__name")), expected
        )
        messages = LogEntry.objects.values_list("change_message", flat=True)
        self.assertEqual(set(messages), {'[{"added": {}}]'})

    @override_settings(LANGUAGES=[*settings.LANGUAGES, ("ar", "Arabic")])
    def test_home_page_follows_the_direction_of_the_script(self):
        self.client.force_login(create_superuser())
        self.assertContains(self.get("ar"), '<html lang="ar" dir="rtl"')


@override_settings(SECOND_FACTOR="optional")
class PageTests(TestCase):
    """Every page of the admin site, in every language."""

    @classmethod
    def setUpTestData(cls):
        cls.world = World()

    def setUp(self):
        self.enterContext(translation.override("en"))

    def get(self, user, url, language):
        """Return a page in a language, or "" if the user does not get one."""
        client = Client(headers={"accept-language": language})
        if user is not None:
            client.force_login(user)
        response = client.get(url)
        is_page = response.get("Content-Type", "").startswith("text/html")
        if response.status_code != 200 or not is_page:
            return ""
        return response.content.decode()

    def list_urls(self, value):
        """Return the URL of every page, for an object such as "own" or "foreign"."""
        urls = []
        for route in walk():
            pages = list(fill(route, self.world))
            pages.sort(key=lambda page: page.value != value)
            urls.append(pages[0].url)
        return urls

    def list_field_labels(self):
        """Return the labels of fields in English, as the log of changes has them."""
        labels = set()
        with translation.override(None):
            for model in (Contact, Group, Organization, User):
                for field in [*model._meta.fields, *model._meta.many_to_many]:
                    if field.editable and field.name not in READ_ONLY:
                        labels.add(capfirst(field.verbose_name))
        return labels

    def test_the_log_names_fields_in_the_language_of_the_page(self):
        """Django stores their labels in English, and translates the stored ones."""
        for language in TRANSLATIONS:
            catalogue = trans_real.translation(language)._catalog
            missing = [
                label for label in self.list_field_labels() if label not in catalogue
            ]
            self.assertEqual(missing, [], f"{language}: add them to django_texts.py.")

    def test_no_page_is_half_english(self):
        typed = list_typed_words()
        problems = set()
        readers = {
            "anonymous": "own",
            "no organization": "own",
            "admin": "own",
            "superuser": "foreign",
        }
        for name, value in readers.items():
            user = self.world.users[name]
            for url in self.list_urls(value):
                english = self.get(user, url, "en")
                for language in TRANSLATIONS if english else ():
                    page = self.get(user, url, language)
                    for text in find_untranslated(page, english, language, typed):
                        problems.add(f"{language}: {text} ({url})")
        if problems:
            # Texts of Django and of other packages belong in admin/django_texts.py.
            self.fail("These texts are in English:\n" + "\n".join(sorted(problems)))
