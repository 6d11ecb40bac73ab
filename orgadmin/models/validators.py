"""Validators for text from users and URLs."""

from functools import cache
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

MAX_KEY_DIGITS = 18  # so that the key fits into 64 bits


def is_primary_key(text: str) -> bool:
    """Return whether text from a user or URL can be used to look up a primary key.

    With other text, a query can raise an error instead of finding nothing.
    """
    return text.isascii() and text.isdigit() and len(text) <= MAX_KEY_DIGITS


@cache
def list_time_zones() -> tuple[str, ...]:
    """Return the sorted names of all time zones. Reads them from disk only once."""
    return tuple(sorted(available_timezones()))


def validate_time_zone(name: str) -> None:
    if name not in list_time_zones():
        raise ValidationError(
            _("“%(name)s” is not a time zone. Use a name such as Europe/Berlin."),
            code="time_zone",
            params={"name": name},
        )


def validate_language(code: str) -> None:
    if code not in dict(settings.LANGUAGES):
        raise ValidationError(
            _("“%(code)s” is not a language of this site."),
            code="language",
            params={"code": code},
        )
