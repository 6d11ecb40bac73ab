"""Recognizing cells and rows that a person should check before they are imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from orgadmin.models.text import remove_invisible
from orgadmin.records.imports.problems import ImportProblem

# Fields with several lines, which can contain any text
LONG_FIELDS = ("address", "notes")

# Fields whose text many programs mistake for a number
NUMBER_FIELDS = ("reference", "phone", "tax_id")

# A new value is suspicious if it has more characters than this, and if it is also more
# than this many times longer than the old value.
SUSPICIOUS_LENGTH = 100  # characters
SUSPICIOUS_GROWTH = 5


@dataclass(frozen=True)
class Suspicion:
    """A reason to check a cell or a row."""

    word: str | Promise  # a short name
    message: str | Promise
    # Whether a person must agree before the row is imported
    needs_consent: bool = True


SCIENTIFIC = Suspicion(
    gettext_lazy("damaged number"),
    gettext_lazy(
        "A spreadsheet has shortened this number. Format the column as text there, and"
        " enter the number again."
    ),
)
FORMULA_ERROR = Suspicion(
    gettext_lazy("no value"),
    gettext_lazy(
        "This is what a program writes instead of a value that is missing. Empty the"
        " cell, or enter the value."
    ),
)
DATE = Suspicion(
    gettext_lazy("date"),
    gettext_lazy(
        "This is a date. A spreadsheet may have made it from a text such as “3-4”."
        " Format the column as text there, and enter the text again."
    ),
)
GARBLED = Suspicion(
    gettext_lazy("garbled"),
    gettext_lazy(
        "Some letters are garbled, because a program has read the text in the wrong"
        " encoding. Export the file again as “CSV UTF-8”, or correct the text."
    ),
)
TWO_EMAILS = Suspicion(
    gettext_lazy("two addresses"),
    gettext_lazy(
        "An organization has one email address. The import takes the first one here."
    ),
)
LOST_ZEROS = Suspicion(
    gettext_lazy("lost zeros"),
    gettext_lazy(
        "The current value is the same number, but begins with a zero or a plus sign."
        " Format the column as text in the spreadsheet, and enter the number again."
    ),
)
FAR_LONGER = Suspicion(
    gettext_lazy("far longer"),
    gettext_lazy(
        "This is far longer than the current value. Make sure that it belongs here."
    ),
)
INVISIBLE = Suspicion(
    gettext_lazy("invisible characters"),
    gettext_lazy("The import removes invisible characters from this text."),
    needs_consent=False,
)
LOSES_ROLE = Suspicion(
    gettext_lazy("loses a role"),
    gettext_lazy(
        "The person has another role in this organization, and the new one replaces it."
    ),
)
DUPLICATE = Suspicion(
    gettext_lazy("possible duplicate"),
    gettext_lazy(
        "A similar organization exists. Choose whether to change that one or to create"
        " another one."
    ),
)
ALMOST_SAME_REFERENCE = Suspicion(
    gettext_lazy("lost zeros"),
    gettext_lazy(
        "An organization has almost the same reference: only zeros at the start differ."
        " Write the reference as it is there, or make sure that this is another"
        " organization."
    ),
)

SCIENTIFIC_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?E[+-]?\d{1,3}", re.IGNORECASE)
ERRORS = re.compile(
    r"#(N/?A|NV|REF!|BEZUG!|VALUE!|WERT!|VALEUR!|DIV/0!|NAME\??|NOM\?|NUM!|ZAHL!"
    r"|NOMBRE!|NULL!|SPILL!|#+)"
    r"|\(?null\)?|nan|none|undefined|\\N|\[object Object\]",
    re.IGNORECASE,
)
DATES = re.compile(
    r"\d{4}-\d\d?-\d\d?( \d\d:\d\d(:\d\d)?)?|\d\d?\.\d\d?\.\d{2,4}|\d\d?/\d\d?/\d{2,4}"
    r"|\d\d?[-. ]+(jan|feb|mär|mrz|mar|apr|mai|may|jun|jul|aug|sep|okt|oct|nov|dez|dec)"
    r"\w*",
    re.IGNORECASE,
)
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
# UTF-8 that was read as Mac Roman has a root sign before most letters.
GARBLED_MAC = re.compile("\u221a[\u00a9\u00ae\u00b0\u00fc\u00b6\u00ba\u2202\u00df§]")

# A text was probably garbled if repairing it results in these letters and marks.
LAST_LATIN = "\u024f"
MARKS = re.compile("[\u2010-\u2044\u20ac\u2122]")

# The words in a row of totals, in lower case
TOTALS = frozenset(
    [
        *("total", "totals", "grand total", "subtotal", "sum", "count", "average"),
        *("summe", "gesamt", "gesamtsumme", "zwischensumme", "insgesamt", "anzahl"),
        *("total général", "sous-total", "somme", "totaux", "gesamtergebnis"),
    ]
)
NUMBER = re.compile(r"[\s\d.,:;()%€$£+-]+")


@dataclass(frozen=True)
class ImportWarning:
    """A cell or a row that a person should check before it is imported."""

    suspicion: Suspicion
    line: int
    column: str = ""  # the title of the column, as in the file
    value: str = ""
    field: str = ""  # the field whose cell it is about
    detail: str = ""  # more information, such as the name of a duplicate
    # The existing organization that a new row may duplicate. People can choose to
    # change it instead.
    resembled: int | None = None
    resembled_name: str = ""

    @property
    def word(self) -> str:
        return str(self.suspicion.word)

    @property
    def needs_consent(self) -> bool:
        return self.suspicion.needs_consent

    def make_problem(self) -> ImportProblem:
        """Return the warning as a problem, whose message begins with the word."""
        message = f"{self.suspicion.word}. {self.suspicion.message}"
        if self.detail:
            message = f"{message} {self.detail}"
        return ImportProblem(message, self.line, self.column, self.value)

    def __str__(self) -> str:
        return str(self.make_problem())


def find_suspicions(name: str, cell: str) -> list[Suspicion]:
    """Return what is suspicious about a cell, regardless of the current value."""
    found = []
    if name not in LONG_FIELDS:
        if SCIENTIFIC_NUMBER.fullmatch(cell):
            found.append(SCIENTIFIC)
        if remove_invisible(cell) != cell:
            found.append(INVISIBLE)
    if ERRORS.fullmatch(cell):
        found.append(FORMULA_ERROR)
    if name in ("name", "reference") and DATES.fullmatch(cell):
        found.append(DATE)
    if is_garbled(cell):
        found.append(GARBLED)
    if name == "email" and len(split_emails(cell)) > 1:
        found.append(TWO_EMAILS)
    return found


def split_emails(cell: str) -> list[str]:
    """Return the parts of a cell that look like email addresses."""
    return [part for part in re.split(r"[\s;,|/]+", cell) if "@" in part]


def is_garbled(text: str) -> bool:
    """Return whether a part of a text is UTF-8 that was read in another encoding."""
    if text.isascii():
        return False
    if "\ufffd" in text or GARBLED_MAC.search(text):
        return True
    return any(is_garbled_part(match[0]) for match in NOT_ASCII.finditer(text))


def is_garbled_part(part: str) -> bool:
    """Return whether characters are European letters that were read as Windows-1252."""
    try:
        # Windows-1252 does not define five bytes. Programs keep them unchanged.
        content = b"".join(encode_western(character) for character in part)
        decoded = content.decode()
    except UnicodeError:
        return False
    return all(
        character <= LAST_LATIN or MARKS.match(character) for character in decoded
    )


def encode_western(character: str) -> bytes:
    if "\x80" <= character <= "\x9f":
        return bytes([ord(character)])
    return character.encode("cp1252")


def compare_values(name: str, old: str, new: str) -> list[Suspicion]:
    """Return what is suspicious about replacing the value of a field."""
    found = []
    if name in NUMBER_FIELDS and has_lost_zeros(old, new):
        found.append(LOST_ZEROS)
    is_far_longer = len(new) > SUSPICIOUS_GROWTH * len(old)
    if old and len(new) > SUSPICIOUS_LENGTH and is_far_longer:
        found.append(FAR_LONGER)
    return found


def has_lost_zeros(old: str, new: str) -> bool:
    """Return whether the new value is the old one without leading zeros or a plus."""
    digits = re.sub(r"\D", "", old)
    if not new.isdecimal() or not digits:
        return False
    lost_zeros = digits.startswith("0") and digits.lstrip("0") == new
    lost_plus = old.startswith("+") and digits == new
    return lost_zeros or lost_plus


def is_total(cells: Sequence[str]) -> bool:
    """Return whether a row contains only a word such as "Total", and numbers."""
    words = [cell for cell in cells if cell and not NUMBER.fullmatch(cell)]
    if len(words) != 1:
        return False
    return re.sub(r"[\s\d.,:()]+$", "", words[0]).casefold() in TOTALS


def is_repeated_header(cells: Sequence[str], titles: Sequence[str]) -> bool:
    """Return whether all cells with text repeat the title of their column."""
    filled = 0
    for cell, title in zip(cells, titles):
        if not cell:
            continue
        if cell.casefold() != title.casefold():
            return False
        filled += 1
    return filled > 0
