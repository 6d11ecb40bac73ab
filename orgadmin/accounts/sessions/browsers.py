"""Recognizes browsers, so that people recognize their own devices.

Browsers send a text that names several others, for old websites. The names below are
searched for in their order. Only these names are ever stored or shown, so nobody can
write a text of their own into someone's account.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

# (what the browser sends, its name)
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
    """A browser and its operating system. What is not known is ""."""

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
    for sign, name in names:
        if sign in user_agent:
            return name
    return ""
