"""What text and keys may contain."""

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

# Control characters, lone surrogates, and marks that turn the direction, so that one name looks like another.
UNPRINTABLE = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069"


_text = _("This has a character that cannot be shown. Type it anew.")


_line = _(
    "This has a line break or a character that cannot be shown. Type it anew, on one line."
)


TEXT = RegexValidator(f"[{UNPRINTABLE}]", _text, "unprintable", inverse_match=True)


LINE = RegexValidator(
    rf"[\t\n\r{UNPRINTABLE}]", _line, "unprintable", inverse_match=True
)


def is_key(text):
    """Tell whether text from outside can be a primary key at all: anything else breaks a query, not a rule."""
    return text.isascii() and text.isdigit() and len(text) < 19
