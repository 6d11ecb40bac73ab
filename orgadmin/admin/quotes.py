"""Puts names in the quotation marks of the reader's language."""

from collections.abc import Iterable

from django.utils.translation import gettext as _


def quote(name: object) -> str:
    """Return a name in quotation marks."""
    return _("“%s”") % name


def list_quoted(names: Iterable[object]) -> str:
    """Return the names in quotation marks, with commas between them."""
    return ", ".join(quote(name) for name in names)
