"""Finds out which browser someone uses, so that people recognize their own devices.

For compatibility with old websites, the User-Agent header also names other browsers, so
the order of the entries below matters. Only the names below are stored and shown.
Otherwise, attackers could show a text of their own on someone's account page.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

# Pairs of a part of the User-Agent header and the name of the browser.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)

SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True)
class Browser:
    """A browser and its operating system. Unknown names are ""."""

    name: str
    system: str

    def __str__(self) -> str:
        if self.name and self.system:
            names = {"browser": self.name, "system": self.system}
            return _("%(browser)s on %(system)s") % names
        return self.name or self.system or _("Unknown browser")


def find_browser(user_agent: str) -> Browser:
    return Browser(_find(user_agent, BROWSERS), _find(user_agent, SYSTEMS))


def _find(user_agent: str, names: tuple[tuple[str, str], ...]) -> str:
    for part, name in names:
        if part in user_agent:
            return name
    return ""
