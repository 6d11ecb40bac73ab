"""Validators for text and keys that come from outside."""

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

# Control characters, lone surrogates, and marks that change the direction of text, with
# which one name can be made to look like another.
UNPRINTABLE = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069"
MAX_KEY_DIGITS = 18  # so that the key fits into 64 bits

validate_text = RegexValidator(
    f"[{UNPRINTABLE}]",
    _("This contains a character that cannot be displayed. Type the text again."),
    code="unprintable",
    inverse_match=True,
)
validate_line = RegexValidator(
    rf"[\t\n\r{UNPRINTABLE}]",
    _(
        "This contains a line break or a character that cannot be displayed. Type the"
        " text again, on one line."
    ),
    code="unprintable",
    inverse_match=True,
)


def is_primary_key(text: str) -> bool:
    """Return whether text from outside can be a primary key at all.

    With other text, a query would raise an error instead of finding nothing.
    """
    return text.isascii() and text.isdigit() and len(text) <= MAX_KEY_DIGITS
