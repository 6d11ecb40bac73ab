"""Renders an email from a template in templates/mail/.

Each email has one template, for its text. The HTML part is made from the rendered text,
so that both parts have the same content, and text that other people typed is escaped
only once.
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

# Names in emails are truncated to this many characters.
NAME_LENGTH = 100

# French has a no-break space before a colon.
ENDING = re.compile(r"[\s:：]+$")

EMPTY_LINES = re.compile(r"\n\s*\n")

# Text that mail programs turn into links, or that would end the quotes around a name.
LINE_BREAKS = re.compile(r"\s+")
QUOTES = re.compile(r"[\"“”„‟«»‹›「」『』]")
SLASHES = re.compile(r"[/\\]{2,}")
# A dot in a domain, followed by at least two letters or digits. Does not match
# initials, as in "J.R.".
DOT = re.compile(r"(?<=\S)[.\u2024\u3002\uff0e\uff61](?=\w\w)|(?<=\d)\.(?=\d)")
WWW = re.compile(r"(?<=www)\.", re.IGNORECASE)
SCHEME = re.compile(r"(?<=\w):(?=\S)")


@dataclass(frozen=True)
class Line:
    """A line of the HTML part. If it ends with a link to this site, `url` is set."""

    text: str  # without the link
    url: str = ""

    @property
    def label(self) -> str:
        """The text of the button: the line without a final ":", or else the link."""
        return ENDING.sub("", self.text) or self.url


@dataclass(frozen=True)
class Paragraph:
    """Lines without an empty line between them.

    If a paragraph consists of one line with a link, it is shown as a button.
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
    trusted_values: Mapping[str, Any] | None = None,
    **context: Any,
) -> EmailMultiAlternatives:
    """Return a message from a template, in the recipient's language and time zone.

    If the recipient has not chosen a language, it is in `language`. If they have not
    chosen a time zone, times are in the site's time zone. For someone without an
    account, `recipient` is an unsaved `User()`.

    The first line of the template is the subject. It must not contain text that people
    typed, so that nobody can write their own subject. Values in `context` are escaped.
    `trusted_values` are not escaped, so text in them that people typed must already be
    escaped with `escape_for_mail()`.
    """
    zone = timezone.get_default_timezone()
    if recipient.time_zone in list_time_zones():
        zone = ZoneInfo(recipient.time_zone)
    language = recipient.language or language
    with translation.override(language), timezone.override(zone):
        values = {name: escape_for_mail(value) for name, value in context.items()}
        values["site"] = settings.BASE_URL
        values["host"] = urlsplit(settings.BASE_URL).netloc
        values["zone"] = str(zone)
        values.update(trusted_values or {})
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

    Only links to this site become HTML links. The template escapes everything else.
    """
    paragraphs = []
    for block in EMPTY_LINES.split(body.strip()):
        lines = [split_off_link(line.strip()) for line in block.splitlines()]
        paragraphs.append(Paragraph(lines))
    return render_to_string(
        "mail/base.html", {"subject": subject, "paragraphs": paragraphs}
    )


def split_off_link(line: str) -> Line:
    """Split a line into its text and the link to this site at its end, if there is one.

    Values from `escape_for_mail()` cannot contain such a link.
    """
    text, _space, last = line.rpartition(" ")
    if last.startswith(f"{settings.BASE_URL}/"):
        return Line(text, last)
    return Line(line)


def escape_for_mail(value: Any) -> Any:
    """Escape a value, so that nobody can put their own message into an email.

    Someone could name an organization "Your account is locked, see
    http://evil.example". The result is a single line of about NAME_LENGTH characters at
    most, mail programs do not make a link of it, and it cannot end the quotes around
    it. Integers and None are not changed. In lists and dictionaries, each value is
    escaped.
    """
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, list):
        return [escape_for_mail(item) for item in value]
    if isinstance(value, dict):
        return {key: escape_for_mail(item) for key, item in value.items()}
    text = LINE_BREAKS.sub(" ", str(value))
    # Removes control characters, and invisible ones such as direction marks.
    visible = [char for char in text if not category(char).startswith("C")]
    text = QUOTES.sub("'", "".join(visible).strip())
    if len(text) > NAME_LENGTH:
        text = f"{text[:NAME_LENGTH]}…"
    text = SLASHES.sub("[/]", text)
    text = SCHEME.sub("[:]", text)
    text = WWW.sub("[.]", text)
    text = DOT.sub("[.]", text)
    return text.replace("@", "[@]")
