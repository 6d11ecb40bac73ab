"""Emails: from a template in templates/mail/ to a message with two parts.

Each email has one template, for its text. The HTML part is made from the finished text,
so both parts always say the same, and what other people typed is made harmless once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import category
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils import timezone, translation

from orgadmin.models import User
from orgadmin.models.validators import list_time_zones

# Names are cut after this many characters in mail.
NAME_LENGTH = 100

# French has a no-break space before a colon.
ENDING = re.compile(r"[\s:：]+$")

EMPTY_LINES = re.compile(r"\n\s*\n")

# What mail programs turn into links, or what would end the quotation of a name.
LINE_BREAKS = re.compile(r"\s+")
QUOTES = re.compile(r"[\"“”„‟«»‹›「」『』]")
SLASHES = re.compile(r"[/\\]{2,}")
# A domain: a dot before at least two letters or digits. Initials, as in "J.R.", stay.
DOT = re.compile(r"(?<=\S)[.\u2024\u3002\uff0e\uff61](?=\w\w)|(?<=\d)\.(?=\d)")
WWW = re.compile(r"(?<=www)\.", re.IGNORECASE)
SCHEME = re.compile(r"(?<=\w):(?=\S)")


@dataclass(frozen=True)
class Line:
    """A line of the HTML part. If it ends with a link of this site, `url` has it."""

    text: str  # without the link
    url: str = ""

    @property
    def label(self) -> str:
        """The text of a button: "Accept the invitation" if the line says so before ":".

        Without any, it is the link itself.
        """
        return ENDING.sub("", self.text) or self.url


@dataclass(frozen=True)
class Paragraph:
    """Lines without an empty one between them.

    A line with a link that is alone in its paragraph is a button.
    """

    lines: list[Line]

    @property
    def is_button(self) -> bool:
        return len(self.lines) == 1 and bool(self.lines[0].url)


def write_message(
    template: str,
    *,
    to: str,
    recipient: User,
    language: str,
    ours: Mapping[str, Any] | None = None,
    **context: Any,
) -> EmailMultiAlternatives:
    """Return a message from a template, in the recipient's language and time zone.

    If they have chosen no language, it is in `language`. Without a time zone, times are
    in that of the site. For someone who has no account, `recipient` is a new `User()`.

    The first line of the template is the subject. It must be the same for everyone, so
    that nobody writes it. Values in the context are made harmless; those in `ours` are
    inserted as they are, so they must not contain what other people typed.
    """
    zone = timezone.get_default_timezone()
    if recipient.time_zone in list_time_zones():
        zone = ZoneInfo(recipient.time_zone)
    language = recipient.language or language
    with translation.override(language), timezone.override(zone):
        values = {name: make_harmless(value) for name, value in context.items()}
        values["site"] = settings.BASE_URL
        values["host"] = urlsplit(settings.BASE_URL).netloc
        values["zone"] = str(zone)
        values.update(ours or {})
        text = render_to_string(f"mail/{template}.txt", values)
        subject, body = text.split("\n", 1)
        subject = " ".join(subject.split())
        body = EMPTY_LINES.sub("\n\n", body.strip()) + "\n"
        html = write_html(subject, body)
    message = EmailMultiAlternatives(subject, body, to=[to])
    message.attach_alternative(html, "text/html")
    return message


def write_html(subject: str, body: str) -> str:
    """Return the HTML part for a text, in the active language.

    Only links of this site become links. The template escapes everything else.
    """
    paragraphs = []
    for block in EMPTY_LINES.split(body.strip()):
        lines = [read_line(line.strip()) for line in block.splitlines()]
        paragraphs.append(Paragraph(lines))
    return render_to_string(
        "mail/base.html", {"subject": subject, "paragraphs": paragraphs}
    )


def read_line(line: str) -> Line:
    """Split a line of a text into what comes before a link of this site, and the link.

    No value that was made harmless contains such a link.
    """
    text, _space, last = line.rpartition(" ")
    if last.startswith(f"{settings.BASE_URL}/"):
        return Line(text, last)
    return Line(line)


def make_harmless(value: Any) -> Any:
    """Return a value as text that cannot turn our mail into someone else's.

    Someone can name an organization "Your account is locked, see http://evil.example".
    In mail, such a name is one line, no program makes a link of it, and it cannot end
    the quotation that it is in. Numbers stay as they are. In lists and mappings, each
    value is made harmless.
    """
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, list):
        return [make_harmless(item) for item in value]
    if isinstance(value, dict):
        return {key: make_harmless(item) for key, item in value.items()}
    text = LINE_BREAKS.sub(" ", str(value))
    # Control characters, and invisible ones such as those that change the direction.
    visible = [char for char in text if not category(char).startswith("C")]
    text = QUOTES.sub("'", "".join(visible).strip())
    if len(text) > NAME_LENGTH:
        text = f"{text[:NAME_LENGTH]}…"
    text = SLASHES.sub("[/]", text)
    text = SCHEME.sub("[:]", text)
    text = WWW.sub("[.]", text)
    text = DOT.sub("[.]", text)
    return text.replace("@", "[@]")
