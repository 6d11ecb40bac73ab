"""The words that people read: terms that are retired, and what to write instead."""

import ast
import re
from pathlib import Path

from django.conf import settings
from django.template.base import Lexer, TokenType
from django.test import SimpleTestCase

ROOT = Path(settings.BASE_DIR)

# {retired term, as a regular expression: what to write instead}. To retire a term, add
# it here. Upper and lower case are the same, and a term never matches inside a word.
RETIRED_TERMS = {
    r"a mail|mails": "email, emails",
    r"anew": "again",
    r"cancell(ed|ing)": "canceled, canceling",
    r"e-mails?": "email",
    r"front page": "home page",
    r"I am sure": "the verb of the button and its object, such as “Remove Mary”",
    r"lately": "recently",
    r"ledgers?": "membership log",
    r"log in|log out|logged in|logged out|login": "sign in, sign out",
    r"meanwhile": "in the meantime, or what happened: “while you were editing”",
    r"mend(s|ed|ing)?": "fix, or repair",
    r"put(s|ting)? (it |them |“[^”]*” )?back": "restore",
    r"rights": "permissions, or access",
    r"somebody( else)?": "someone",
    r"take me back": "Cancel",
    r"take(s|n)? (“[^”]*” )?out of": "remove from, or offboard",
    r"thus": "so",
    r"user names?": "username",
    r"who(m|ever|mever)": "who, or “the person who”",
    r"withdr(aw|aws|awn|ew)": "revoke",
}

TRANSLATION_FUNCTIONS = {
    "_",
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "ngettext",
    "ngettext_lazy",
    "npgettext",
    "npgettext_lazy",
    "pgettext",
    "pgettext_lazy",
}
QUOTED = re.compile(r""""([^"]*)"|'([^']*)'""")
HTML_TAG = re.compile(r"<[^>]*>")


def find_retired_terms(text):
    """Yield (retired term as it stands in a text, what to write instead)."""
    for term, replacement in RETIRED_TERMS.items():
        match = re.search(rf"\b({term})\b", text, re.IGNORECASE)
        if match:
            yield match[0], replacement


def list_python_strings(source):
    """Return the strings of a Python file that are marked for translation."""
    strings = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and name_function(node) in TRANSLATION_FUNCTIONS:
            values = [getattr(argument, "value", None) for argument in node.args]
            strings += [value for value in values if isinstance(value, str)]
    return strings


def name_function(call):
    """Return the name of a called function, without its module."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return getattr(call.func, "id", "")


def list_template_strings(source):
    """Return the texts of a template: translated ones, and those between its tags."""
    strings = []
    html = []  # what is not translated
    is_translated = False
    for token in Lexer(source).tokenize():
        if token.token_type == TokenType.TEXT:
            texts = strings if is_translated else html
            texts.append(token.contents)
        elif token.token_type == TokenType.VAR and "_(" in token.contents:
            strings += list_quoted(token.contents)
        elif token.token_type == TokenType.BLOCK:
            tag = token.contents.split()[0]
            if tag == "translate":
                strings += list_quoted(token.contents)
            elif tag in ("blocktranslate", "endblocktranslate"):
                is_translated = tag == "blocktranslate"
    # The names in HTML tags are not for people.
    return [*strings, *HTML_TAG.split("".join(html))]


def list_quoted(code):
    return [double or single for double, single in QUOTED.findall(code)]


def list_catalogue_strings(source):
    """Return the msgids of a catalogue."""
    strings = []
    for msgid in re.findall(r'^msgid(?:_plural)? (".*"(?:\n".*")*)', source, re.M):
        strings.append("".join(ast.literal_eval(line) for line in msgid.split("\n")))
    return strings


class RetiredTermTests(SimpleTestCase):
    def check(self, paths, list_strings):
        problems = []
        for path in sorted(paths):
            for text in list_strings(path.read_text()):
                for term, replacement in find_retired_terms(text):
                    place = path.relative_to(ROOT)
                    problems.append(
                        f"{place}: “{' '.join(text.split())}” contains the retired"
                        f" term “{term}”. Write instead: {replacement}."
                    )
        if problems:
            self.fail("\n" + "\n".join(problems))

    def test_python_has_none(self):
        paths = [*ROOT.glob("orgadmin/**/*.py"), *ROOT.glob("config/**/*.py")]
        self.check(paths, list_python_strings)

    def test_templates_have_none(self):
        paths = [*ROOT.glob("templates/**/*.html"), *ROOT.glob("templates/**/*.txt")]
        self.check(paths, list_template_strings)

    def test_catalogues_have_none(self):
        paths = ROOT.glob("orgadmin/locale/*/LC_MESSAGES/django.po")
        self.check(paths, list_catalogue_strings)

    def test_each_kind_of_string_is_read(self):
        python = 'a = _("one"); b = ngettext("two", "three", n); c = "no"'
        self.assertEqual(list_python_strings(python), ["one", "two", "three"])
        template = (
            "<p class='no'>one</p>{% translate \"two\" %}<a href='{% url 'no' %}'"
            ' title="{% blocktranslate %}three{% endblocktranslate %}">{# no #}'
            '{{ no|default:_("four") }}</a>'
        )
        texts = [text.strip() for text in list_template_strings(template)]
        self.assertCountEqual(
            [text for text in texts if text], ["one", "two", "three", "four"]
        )
        catalogue = 'msgid ""\n"one"\nmsgid_plural "two"\nmsgstr[0] "no"\n'
        self.assertEqual(list_catalogue_strings(catalogue), ["one", "two"])

    def test_terms_are_found_as_words_only(self):
        for text, terms in (
            ("Ledger: %s", ["Ledger"]),
            ("Take “%s” out of everything?", ["Take “%s” out of"]),
            ("Put “%s” back?", ["Put “%s” back"]),
            ("Invite somebody by e-mail", ["e-mail", "somebody"]),
            ("Recommended: a catalog in CSV. Chronology. Bright.", []),
            ("Sign in by email. The membership log says who joined.", []),
        ):
            found = [term for term, _replacement in find_retired_terms(text)]
            self.assertEqual(found, terms)
