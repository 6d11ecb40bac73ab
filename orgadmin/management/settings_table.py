"""Lists the environment variables that are in force, without their secrets."""

from __future__ import annotations

import os
import re

from config import env

HIDDEN = "***"

# Variables whose whole value is a secret.
SECRET_NAME = re.compile("^SECRET_KEY|_(SECRET|TOKEN)$|^PGPASSWORD$")

# Passwords in URLs. A password may contain "@", but a host must not.
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/?#]*):.*@", re.DOTALL)
PASSWORD_IN_QUERY = re.compile(r"((?:^|[?&])(?:ssl)?password=)[^&]*")

# Variables of libpq, which gunicorn and the commands hand on.
LIBPQ_PREFIX = "PG"

# Variables that other programs read.
OTHER_PROGRAMS = ("GUNICORN_", "PYTHON", "REQUESTS_", "SSL_", "WEB_CONCURRENCY")


def list_settings() -> list[env.Setting]:
    """Return the variables that the site reads, and those of libpq that are set."""
    rows = list(env.settings_read.values())
    for name in sorted(os.environ):
        if name.startswith(LIBPQ_PREFIX) and name not in env.settings_read:
            source = env.describe_source(name)
            rows.append(env.Setting(name, os.environ[name], source))
    return [env.Setting(row.name, hide_secrets(row), row.source) for row in rows]


def hide_secrets(setting: env.Setting) -> str:
    if SECRET_NAME.search(setting.name) and setting.text:
        return HIDDEN
    text = PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}@", setting.text)
    return PASSWORD_IN_QUERY.sub(rf"\1{HIDDEN}", text)


def list_unknown_variables() -> list[tuple[str, int]]:
    """Return the name and the line of variables in ENV_FILE that nothing seems to read.

    They may be misspelled.
    """
    unknown = []
    for name, variable in env.variables_of_file.items():
        is_known = name.removesuffix("_FILE") in env.settings_read
        if not is_known and not name.startswith((LIBPQ_PREFIX, *OTHER_PROGRAMS)):
            unknown.append((name, variable.line))
    return unknown
