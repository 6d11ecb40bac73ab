"""Validators for keys that come from outside."""

MAX_KEY_DIGITS = 18  # so that the key fits into 64 bits


def is_primary_key(text: str) -> bool:
    """Return whether text from outside can be a primary key at all.

    With other text, a query would raise an error instead of finding nothing.
    """
    return text.isascii() and text.isdigit() and len(text) <= MAX_KEY_DIGITS
