"""Keys that prove that an ID in a file comes from an export of this site.

Without them, a file from another system, with customer numbers in an "id" column, would
change unrelated organizations.
"""

from __future__ import annotations

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

LENGTH = 12  # characters

# Keys only contain letters, so that spreadsheets do not mistake them for numbers or
# dates.
LETTERS = str.maketrans("0123456789", "ghijklmnop")


def make_id_key(pk: int, secret: str | None = None) -> str:
    """Return the key that an export contains beside the ID of an organization."""
    digest = salted_hmac(
        "orgadmin.records.id_keys", str(pk), secret=secret, algorithm="sha256"
    )
    return digest.hexdigest()[:LENGTH].translate(LETTERS)


def is_id_key(pk: int, key: str) -> bool:
    """Return whether a key belongs to an ID, according to an export of this site."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    given = key.strip().lower()
    return any(
        constant_time_compare(make_id_key(pk, secret), given) for secret in secrets
    )
