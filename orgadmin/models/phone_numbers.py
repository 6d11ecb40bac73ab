"""Phone numbers: how they are stored, shown, and dialed.

Only numbers that are certain are changed: those that begin with "+" or "00", and are
possible in their country. Everything else stays as someone typed it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from django.conf import settings
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

# Digits with what people put between them, and an extension. The library would ignore
# any other text, such as "mornings only".
NUMBER = re.compile(
    r"\+?[0-9 ()./\u2010-\u2015\u00a0-]+((ext\.?|x|#) ?[0-9]{1,7})?", re.IGNORECASE
)

# What a link to a local number may contain, according to RFC 3966.
DIGITS = re.compile(r"[^0-9*#]")

# A text with fewer digits is no number that anybody could dial.
FEWEST_DIGITS = 3


def format_phone(text: str) -> str:
    """Return a number as people read it, such as "+49 30 998877"; odd texts as is."""
    number = parse_phone(text)
    if number is None:
        return text
    return phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)


def make_phone_link(text: str) -> str:
    """Return the URL that dials a number, or "" if the text is none.

    A number whose country is known gets the global form of RFC 3966.
    """
    number = parse_phone(text)
    if number is not None:
        return phonenumbers.format_number(number, PhoneNumberFormat.RFC3966)
    if not NUMBER.fullmatch(text):
        return ""
    digits = DIGITS.sub("", text)
    return f"tel:{digits}" if len(digits) >= FEWEST_DIGITS else ""


@lru_cache(maxsize=1_000)
def parse_phone(text: str) -> PhoneNumber | None:
    """Return the number that a text means, or None if that is not certain."""
    if not NUMBER.fullmatch(text):
        return None
    region = settings.PHONE_REGION or None
    if text.startswith("00"):
        text = f"+{text[2:].lstrip()}"
    if region is None and not text.startswith("+"):
        return None
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None
