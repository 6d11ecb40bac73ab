"""Cleans text that people enter, and escapes text that cannot be displayed.

The fields in `fields.py` clean text when it is entered: in forms, imports and commands.
Text that code saves directly is not changed.
"""

from __future__ import annotations

import re
import unicodedata

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

# Characters that are invisible on a single line: the soft hyphen, zero-width spaces,
# marks of the text direction, and blank letters. People copy them together with other
# text without knowing it, so they are removed. Otherwise, two names that differ only in
# these characters would look the same.
INVISIBLE = frozenset(
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u2060\u2061\u2062\u2063\u2064\u3164\ufeff\uffa0"
)

# These join or separate two letters of some scripts, and change how a word looks or
# what it means. In other places, they are invisible.
JOINERS = frozenset("\u200c\u200d")
SCRIPTS_WITH_JOINERS = frozenset(
    [
        "ARABIC",
        "BENGALI",
        "DEVANAGARI",
        "GUJARATI",
        "GURMUKHI",
        "KANNADA",
        "KHMER",
        "MALAYALAM",
        "MONGOLIAN",
        "MYANMAR",
        "ORIYA",
        "SINHALA",
        "SYRIAC",
        "TAMIL",
        "TELUGU",
        "TIBETAN",
    ]
)

# These select a variant of the character before them: an ideograph, a Mongolian letter,
# or a symbol such as an emoji. In other places, they are invisible.
VARIATION_SELECTORS = re.compile(
    "[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
WITH_VARIANTS = ("Lo", "So")  # categories

# All characters that `remove_invisible()` may remove
MAYBE_INVISIBLE = re.compile(
    f"[{''.join(INVISIBLE | JOINERS)}]|{VARIATION_SELECTORS.pattern}"
)

# Unicode categories: control and format characters, lone surrogates, private-use and
# unassigned characters, and separators of lines and paragraphs.
REFUSED_IN_LINES = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])
REFUSED_IN_PARAGRAPHS = REFUSED_IN_LINES - {"Cf"}

# Marks that change the direction of the text after them. With these, one name can be
# made to look like another.
DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

BLANKS = re.compile(r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]+")
LINE_BREAKS = re.compile("\r\n?|\u2028|\u2029")


def clean_line(text: str) -> str:
    """Return the form in which a line of text is stored.

    Converts it to Unicode's normal form C, removes invisible characters, removes spaces
    at both ends, and replaces consecutive spaces by one. Returns "" if nothing is
    visible.

    Raises `ValidationError` if the text contains a line break, or another character
    that is not allowed in a line.
    """
    text = unicodedata.normalize("NFC", remove_invisible(text))
    text = BLANKS.sub(" ", text).strip()
    if text.isprintable():
        # Printable text contains no refused characters, so they need not be checked.
        return text if has_visible(text) else ""
    for character in text:
        if character in JOINERS:
            continue
        if unicodedata.category(character) in REFUSED_IN_LINES:
            message = _(
                "This contains a line break or a character that cannot be displayed."
                " Type the text again, on one line."
            )
            raise ValidationError(message, code="unprintable")
    return text if has_visible(text) else ""


def clean_paragraphs(text: str) -> str:
    """Return the form in which text with several lines is stored.

    Converts it to Unicode's normal form C, converts line breaks to "\\n", and removes
    spaces and line breaks at both ends. Returns "" if nothing is visible. Raises
    `ValidationError` if it contains a character that cannot be displayed, or one that
    changes the direction of text.
    """
    text = LINE_BREAKS.sub("\n", unicodedata.normalize("NFC", text)).strip()
    for character in text:
        if character in "\n\t":
            continue
        is_refused = unicodedata.category(character) in REFUSED_IN_PARAGRAPHS
        if is_refused or character in DIRECTION_MARKS:
            message = _(
                "This contains a character that cannot be displayed. Type the text"
                " again."
            )
            raise ValidationError(message, code="unprintable")
    return text if has_visible(text) else ""


def remove_invisible(text: str) -> str:
    """Remove the characters that have no visible effect in their place."""
    if MAYBE_INVISIBLE.search(text) is None:
        return text
    kept: list[str] = []
    for position, character in enumerate(text):
        before = kept[-1] if kept else ""
        after = text[position + 1 : position + 2]
        if leaves_mark(character, before, after):
            kept.append(character)
    return "".join(kept)


def leaves_mark(character: str, before: str, after: str) -> bool:
    """Return whether a character is visible, or changes the characters beside it.

    `before` and `after` are the characters beside it, or "" at the ends of the text.
    """
    if character in INVISIBLE:
        return False
    if character in JOINERS:
        return needs_joiners(before) and needs_joiners(after)
    if VARIATION_SELECTORS.match(character):
        return before != "" and unicodedata.category(before) in WITH_VARIANTS
    return True


def needs_joiners(character: str) -> bool:
    """Return whether a character is a letter or vowel sign of a script with joiners."""
    if not character or unicodedata.category(character)[0] not in "LM":
        return False
    script = unicodedata.name(character, "").partition(" ")[0]
    return script in SCRIPTS_WITH_JOINERS


def has_visible(text: str) -> bool:
    """Return whether a text contains a letter, number, punctuation mark or symbol."""
    for character in text:
        is_blank = character in INVISIBLE or BLANKS.match(character)
        if unicodedata.category(character)[0] in "LNPS" and not is_blank:
            return True
    return False


def check_length(text: str, limit: int) -> None:
    """Raise `ValidationError` if a text is longer than `limit` after normalization.

    Searches compare normalized texts. Normalization can replace one character by 18.
    """
    length = len(unicodedata.normalize("NFKC", text))
    if length > limit:
        message = _(
            "This contains characters that stand for several others. Written out, it"
            " has %(length)d characters, but at most %(limit)d are allowed. Shorten it."
        )
        values = {"length": length, "limit": limit}
        raise ValidationError(message, code="max_length", params=values)


def escape_unprintable(text: str) -> str:
    """Return text that is safe to print on a terminal.

    Escapes all characters that are not displayed as they are: control characters, line
    breaks, marks that change the direction of text, and zero-width characters.
    """
    if text.isprintable():
        return text
    shown = []
    for character in text:
        if not character.isprintable():
            # repr() escapes the character, in quotation marks, which are removed.
            character = repr(character)[1:-1]
        shown.append(character)
    return "".join(shown)
