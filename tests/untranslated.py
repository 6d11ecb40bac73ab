"""Finding texts on pages that are not in the language of the page."""

import re
from functools import cache
from html.parser import HTMLParser

from django.template.base import Lexer, TokenType
from django.utils.translation import trans_real

from orgadmin.models import AccessRequest, Contact, Invitation, Organization, User

SPOKEN_ATTRIBUTES = ("alt", "aria-label", "data-label", "placeholder", "title")
HIDDEN_TAGS = ("script", "style", "code")

# What is not for people, or not translated: hidden fields, the names of time zones,
# languages and encodings, and what the audit log stores.
HIDDEN_CLASSES = {"hidden", "field-details_text"}
HIDDEN_CHOICES = ("encoding", "language", "language-language", "language-time_zone")

# What is inside these tags of templates is translated, or not for people.
SKIPPED_TAGS = ("blocktranslate", "comment")
CLASS_BLOCKS = ("block bodyclass", "block button_class", "block coltype")
PATH = re.compile(r"/\S*")

# Placeholders, and HTML tags
MARK = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|</?\w[^>]*>")

# Shorter words are too often the same in several languages. Letters beside digits and
# asterisks are parts of keys.
WORD = re.compile(r"(?<![\w*])[^\W\d_]{3,}(?![\w*])")


class TextParser(HTMLParser):
    """Collects the texts of a page that people see or hear."""

    def __init__(self, page):
        super().__init__()
        self.texts = set()
        # The tag of the hidden element that is being read, and how many elements of
        # this tag are open inside.
        self._hidden_tag = ""
        self._depth = 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        if self._hidden_tag:
            self._depth += tag == self._hidden_tag
            return
        if is_hidden(tag, attributes):
            self._hidden_tag = tag
            self._depth = 1
            return
        for name in SPOKEN_ATTRIBUTES:
            self._add(attributes.get(name, ""))
        if tag == "input" and attributes.get("type") in ("submit", "button"):
            self._add(attributes.get("value", ""))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag == self._hidden_tag:
            self._depth -= 1
            if not self._depth:
                self._hidden_tag = ""

    def handle_data(self, data):
        if not self._hidden_tag:
            self._add(data)

    def _add(self, text):
        text = " ".join(text.split())
        if text:
            self.texts.add(text)


def is_hidden(tag, attributes):
    if tag in HIDDEN_TAGS:
        return True
    # What has a language of its own is a name of a language.
    if "lang" in attributes and tag != "html":
        return True
    if tag == "select" and attributes.get("name") in HIDDEN_CHOICES:
        return True
    # Only these elements have an end tag in every page.
    if tag not in ("div", "fieldset", "td"):
        return False
    return bool(HIDDEN_CLASSES.intersection(attributes.get("class", "").split()))


@cache
def list_words(language):
    """Return the words in all translations of a language: ours, and those of Django."""
    words = set()
    for _key, text in trans_real.translation(language)._catalog.items():
        words.update(find_words(text))
    return words


@cache
def list_english_words(language):
    """Return the words in all texts that a language translates."""
    words = set()
    for key, _text in trans_real.translation(language)._catalog.items():
        msgid = key[0] if isinstance(key, tuple) else key
        words.update(find_words(msgid.rpartition("\4")[2]))
    return words


def find_words(text):
    return [word.lower() for word in WORD.findall(MARK.sub(" ", text))]


def list_typed_words():
    """Return the words that people typed into the database."""
    fields = {
        Organization: ["name", "reference", "website", "email", "phone", "address"],
        Contact: ["name", "role", "email"],
        Invitation: ["email"],
        AccessRequest: ["reason"],
        User: ["username", "first_name", "last_name", "email"],
    }
    # As in "erased-17", which replaces names, and in "Canary notes of the own".
    words = {"erased", "notes", "own", "the"}
    for model, names in fields.items():
        for values in model._base_manager.values_list(*names):
            for value in values:
                words.update(find_words(value or ""))
    return words


def find_untranslated(page, english_page, language, typed_words):
    """Return the texts of a page that are English.

    They contain a word that nobody typed, that the language does not have, and that
    English has. Or they are the same on the English page.
    """
    known = list_words(language) | typed_words
    english = list_english_words(language)
    english_texts = TextParser(english_page).texts
    found = []
    for text in TextParser(page).texts:
        unknown = [word for word in find_words(text) if word not in known]
        if unknown and (text in english_texts or english.intersection(unknown)):
            found.append(text)
    return found


def find_unmarked(template):
    """Return the texts of a template that are not marked for translation."""
    pieces = []
    skipped_until = ""
    for token in Lexer(template).tokenize():
        if token.token_type == TokenType.BLOCK:
            name = token.contents.split()[0]
            if name in SKIPPED_TAGS or token.contents in CLASS_BLOCKS:
                skipped_until = f"end{name}"
            elif name == skipped_until:
                skipped_until = ""
        if token.token_type == TokenType.TEXT and not skipped_until:
            pieces.append(token.contents)
        else:
            pieces.append(" ")
    texts = TextParser("".join(pieces)).texts
    return sorted(text for text in texts if find_words(PATH.sub("", text)))
