"""Keys that show that an ID in a file comes from an export of this site.

Without them, the numbers that another system gave to its own customers would rename
organizations that have nothing to do with them.
"""

from __future__ import annotations

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

LENGTH = 12

# A spreadsheet takes no text of letters only for a number or a date.
LETTERS = str.maketrans("0123456789", "ghijklmnop")


def make_id_key(pk: int, secret: str | None = None) -> str:
    """Return the key that an export writes beside the ID of an organization."""
    digest = salted_hmac(
        "orgadmin.records.id_keys", str(pk), secret=secret, algorithm="sha256"
    )
    return digest.hexdigest()[:LENGTH].translate(LETTERS)


def is_id_key(pk: int, key: str) -> bool:
    """Return whether an export of this site wrote this key beside this ID."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    wanted = key.strip().lower()
    return any(
        constant_time_compare(make_id_key(pk, secret), wanted) for secret in secrets
    )
