"""List the environment variables that apply, without their secrets."""

from __future__ import annotations

import os
import re

from config import env

# Replaces secrets.
HIDDEN = "***"

# Variables whose whole value is a secret.
SECRET_NAME = re.compile("^SECRET_KEY|_(SECRET|TOKEN)$|^PGPASSWORD$")

# Passwords in URLs. A password can contain "@", but a host cannot.
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/?#]*):.*@", re.DOTALL)
PASSWORD_IN_QUERY = re.compile(r"((?:^|[?&])(?:ssl)?password=)[^&]*")

# The prefix of the variables that libpq, PostgreSQL's client library, reads.
LIBPQ_PREFIX = "PG"

# The prefixes of variables that other programs read.
OTHER_PREFIXES = ("GUNICORN_", "PYTHON", "REQUESTS_", "SSL_", "WEB_CONCURRENCY")


def list_settings() -> list[env.Setting]:
    """Return the variables that the site reads, and those of libpq that are set."""
    rows = list(env.settings_read.values())
    for name in sorted(os.environ):
        if name.startswith(LIBPQ_PREFIX) and name not in env.settings_read:
            source = env.describe_source(name)
            rows.append(env.Setting(name, os.environ[name], source))
    return [env.Setting(row.name, hide_secrets(row), row.source) for row in rows]


def hide_secrets(setting: env.Setting) -> str:
    """Return the text of a setting, in which secrets are replaced."""
    if SECRET_NAME.search(setting.name) and setting.text:
        return HIDDEN
    text = PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}@", setting.text)
    return PASSWORD_IN_QUERY.sub(rf"\1{HIDDEN}", text)


def list_unknown_variables() -> list[tuple[str, int]]:
    """Return the name and the line of each variable in ENV_FILE that is not known.

    These variables may be misspelled.
    """
    unknown = []
    for name, variable in env.variables_of_file.items():
        is_known = name.removesuffix("_FILE") in env.settings_read
        if not is_known and not name.startswith((LIBPQ_PREFIX, *OTHER_PREFIXES)):
            unknown.append((name, variable.line))
    return unknown
