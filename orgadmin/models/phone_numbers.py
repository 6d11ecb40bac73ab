"""Phone numbers: how they are stored, shown, and dialed.

A number is formatted only if it is valid and its country is known: because the number
begins with "+" or "00", or because of the setting PHONE_REGION. All other text is
stored as someone typed it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from django.conf import settings
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

# Digits with separators, and an extension. The library would ignore other text, such as
# "mornings only".
NUMBER = re.compile(
    r"(?P<number>\+?[0-9 ()./\u2010-\u2015\u00a0-]+)"
    r"((ext\.?|x|#) ?(?P<extension>[0-9]{1,7}))?",
    re.IGNORECASE,
)

# Characters that are not dialed.
NOT_DIALED = re.compile(r"[^0-9]")

# A text with fewer digits is not a number that people can dial.
FEWEST_DIGITS = 3


def format_phone(text: str) -> str:
    """Return a readable number, such as "+49 30 998877", or the text unchanged."""
    number = parse_phone(text)
    if number is None:
        return text
    return phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)


def make_phone_link(text: str) -> str:
    """Return the URL that dials a number, or "" if the text is not a number.

    If the country is known, the URL has the global form of RFC 3966. Otherwise, it
    contains the digits and the extension as someone typed them.
    """
    number = parse_phone(text)
    if number is not None:
        return phonenumbers.format_number(number, PhoneNumberFormat.RFC3966)
    match = NUMBER.fullmatch(text)
    if match is None:
        return ""
    digits = NOT_DIALED.sub("", match["number"])
    if len(digits) < FEWEST_DIGITS:
        return ""
    extension = f";ext={match['extension']}" if match["extension"] else ""
    return f"tel:{digits}{extension}"


@lru_cache(maxsize=1_000)
def parse_phone(text: str) -> PhoneNumber | None:
    """Return the number in a text.

    Returns None if the text is not a valid number, or if its country is not known.
    """
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
