"""Logs why a component of the site does not work, without the site's passwords."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from urllib.parse import quote

from django.conf import settings

logger = logging.getLogger("orgadmin.health")

INTERVAL = 60  # seconds between two lines about the same component, in each process

HIDDEN = "***"

PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/?#\s]*):\S*@")
PASSWORD_IN_OPTIONS = re.compile(r"(?i)\b(password|passwd|pwd)\s*=\s*('[^']*'|\S+)")

# Lines of PostgreSQL's messages that begin like this may quote statements or rows.
LINES_WITH_DATA = ("DETAIL:", "CONTEXT:", "QUERY:", "STATEMENT:", "LINE ")

_lock = threading.Lock()
_reported_at: dict[str, float] = {}


def describe_error(error: BaseException) -> str:
    """Return the text of a driver's error in one line, without the site's credentials.

    Leaves out the lines in which PostgreSQL quotes statements and rows. If no text is
    left, returns the type of the error.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(LINES_WITH_DATA)]
    text = hide_credentials(" ".join(kept))
    return text or type(error).__name__


def hide_credentials(text: str) -> str:
    """Replace passwords in a text: those of this site, and all in URLs and options."""
    for secret in list_secrets():
        text = text.replace(secret, HIDDEN)
    text = PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}@", text)
    return PASSWORD_IN_OPTIONS.sub(rf"\1={HIDDEN}", text)


def list_secrets() -> list[str]:
    """Return the passwords and the secret key, both plain and quoted for URLs."""
    passwords = [
        *(database.get("PASSWORD") for database in settings.DATABASES.values()),
        os.environ.get("PGPASSWORD"),
        settings.EMAIL_HOST_PASSWORD,
        settings.SECRET_KEY,
    ]
    secrets = [str(password) for password in passwords if password]
    return secrets + [quote(secret, safe="") for secret in secrets]


def report(component: str, error: BaseException) -> None:
    """Log why a component does not work, at most once a minute in each process.

    The reason has a field of its own, because `LogFormatter` removes everything from
    messages that looks like a path or an address.
    """
    now = time.monotonic()
    with _lock:
        reported_at = _reported_at.get(component)
        if reported_at is not None and now - reported_at < INTERVAL:
            return
        _reported_at[component] = now
    reason = describe_error(error)
    extra = {"component": component, "reason": reason}
    logger.error("A component does not work.", extra=extra)


def forget_reports() -> None:
    """Allow the next problem of each component to be logged at once."""
    with _lock:
        _reported_at.clear()
