"""Read the environment variables that settings.py and providers.py use.

If a required variable is missing, or the value of a variable is invalid, the process
stops with one line that names the variable and says what is expected.

If ENV_FILE is set, the variables in this file are read as well (see `env_file.py`).
Each variable that this module reads, except ENV_FILE, can also be in a file of its own:
SECRET_KEY_FILE=/run/secrets/key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import URLValidator
from environ import Env
from phonenumbers import SUPPORTED_REGIONS

from config.env_file import EnvFileError, Variable, read_env_file

Value = TypeVar("Value")

# The errors that a `parse` function can raise if a value is wrong. `ZoneInfo` raises
# KeyError for an unknown name, and OSError for the name of a folder.
WRONG_VALUE_ERRORS = (
    ValueError,
    KeyError,
    OSError,
    ImproperlyConfigured,
    ValidationError,
)
FLAGS = {"true": True, "false": False}
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")

# libpq, PostgreSQL's client library, reads this variable itself. It does not read
# PGPASSWORD_FILE, so this module sets the variable from the file.
DATABASE_PASSWORD = "PGPASSWORD"


@dataclass(frozen=True)
class Setting:
    """The text of a variable that settings.py reads, and its source."""

    name: str
    text: str
    source: str


# The variables that were read, by name, for the command `show_settings`.
settings_read: dict[str, Setting] = {}


@dataclass(frozen=True)
class EmailServer:
    """The values of Django's EMAIL_* settings of the same names."""

    backend: str
    host: str | None
    port: int | None
    host_user: str
    host_password: str
    use_tls: bool
    use_ssl: bool
    file_path: str


# Sources of variables


def load_env_file() -> dict[str, Variable]:
    """Add the variables of ENV_FILE to the environment, and return all of them by name.

    Variables that are already in the environment are not replaced. If the file cannot
    be read, or a line is invalid, the process stops.
    """
    path = os.environ.get("ENV_FILE", "")
    if not path:
        return {}
    try:
        variables = read_env_file(Path(path))
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}.")
    except EnvFileError as error:
        sys.exit(f"{path}, {error}")
    given = set(os.environ)
    for name, variable in variables.items():
        base = name.removesuffix("_FILE")
        if given.isdisjoint({base, f"{base}_FILE"}):
            os.environ[name] = variable.value
    return variables


def find_text(name: str) -> str | None:
    """Return the text of a variable, or of the file in the variable NAME_FILE.

    Returns None if neither is set. If both are set, or if the file cannot be read, the
    process stops.
    """
    path = os.environ.get(f"{name}_FILE", "")
    if not path:
        return os.environ.get(name)
    if os.environ.get(name):
        sys.exit(f"{name} is missing or wrong: expected it, or {name}_FILE, not both.")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        sys.exit(f"{name}_FILE is missing or wrong: expected a file to read.")


def describe_source(name: str) -> str:
    """Return the source of a variable, such as "/etc/orgadmin.env, line 7".

    Otherwise, the source is the file in NAME_FILE, "environment" or "default".
    """
    path = os.environ.get(f"{name}_FILE")
    if path:
        return path
    if name not in os.environ:
        return "default"
    variable = variables_of_file.get(name)
    if variable and variable.value == os.environ[name]:
        return f"{os.environ['ENV_FILE']}, line {variable.line}"
    return "environment"


def get_text(name: str, *, default: str) -> str:
    """Return the text of a variable, or the default if it is not set.

    Adds the variable to `settings_read`. If the variable is set to an empty text, the
    default is not used.
    """
    found = find_text(name)
    text = default if found is None else found
    settings_read[name] = Setting(name, text, describe_source(name))
    return text


variables_of_file = load_env_file()
database_password = find_text(DATABASE_PASSWORD)
if database_password:
    os.environ[DATABASE_PASSWORD] = database_password


# Variables that are not checked


def read_text(name: str, *, default: str) -> str:
    """Return the value of a variable, or the default if it is not set."""
    return get_text(name, default=default)


def read_list(name: str, *, default: Sequence[str]) -> list[str]:
    """Return the items of a comma-separated variable, or the default if it is not set.

    Spaces around items and empty items are ignored.
    """
    text = get_text(name, default=",".join(default))
    items = [item.strip() for item in text.split(",")]
    return [item for item in items if item]


# Variables that are checked. An empty variable has its default value.


def read(
    name: str, parse: Callable[[str], Value], *, expected: str, default: str = ""
) -> Value:
    """Return the parsed value of a variable, or of the default if it is empty.

    If `parse` raises one of WRONG_VALUE_ERRORS, the process stops with a line that says
    what is expected.
    """
    text = get_text(name, default=default).strip()
    try:
        return parse(text or default)
    except WRONG_VALUE_ERRORS:
        sys.exit(f"{name} is missing or wrong: expected {expected}.")


def read_required(name: str, *, expected: str, default: str = "") -> str:
    return read(name, parse_required, expected=expected, default=default)


def read_flag(name: str, *, default: bool = False) -> bool:
    text = str(default).lower()
    return read(name, parse_flag, expected="true or false", default=text)


def read_number(name: str, *, default: int) -> int:
    return read(name, parse_number, expected="a whole number", default=str(default))


def read_positive_number(name: str, *, default: int) -> int:
    expected = "a whole number above 0"
    return read(name, parse_positive_number, expected=expected, default=str(default))


def read_choice(
    name: str, *, choices: Sequence[str], expected: str, default: str
) -> str:
    parse = partial(parse_choice, choices=choices)
    return read(name, parse, expected=expected, default=default)


def read_url(name: str, *, default: str) -> str:
    """Return the URL of a site, without a path and without a slash at the end."""
    expected = "a URL without a path, such as https://orgs.example.com"
    return read(name, parse_site_url, expected=expected, default=default)


def read_optional_url(name: str) -> str:
    """Return a URL without a slash at the end, or "" if the variable is empty."""
    expected = "a URL such as https://passwords.example.com/range"
    return read(name, parse_optional_url, expected=expected)


def read_time_zone(name: str, *, default: str) -> str:
    expected = "a name such as UTC or Europe/Berlin"
    return read(name, parse_time_zone, expected=expected, default=default)


def read_phone_region(name: str) -> str:
    """Return the code of a country, or "" if the variable is empty."""
    expected = "the code of a country, such as DE, or nothing"
    return read(name, parse_phone_region, expected=expected)


def read_openid_server(name: str, *, is_required: bool, allow_http: bool) -> str:
    """Return the URL of an OpenID provider, without a slash at the end.

    Returns "" if the variable is empty and not required. The URL must use HTTPS and
    cannot contain "@", unless `allow_http` is true.
    """
    expected = "a URL such as https://login.example.com (https, without a password)"
    parse = partial(parse_openid_server, is_required=is_required, allow_http=allow_http)
    return read(name, parse, expected=expected)


def read_database(name: str, *, pool_size: int, default: str) -> dict[str, Any]:
    """Return an entry of Django's DATABASES setting.

    `pool_size` is the number of connections to PostgreSQL that the threads of a process
    share. If it is 0, each thread has its own connection.
    """
    expected = "sqlite:///PATH or postgres://USER:PASSWORD@HOST:PORT/NAME"
    parse = partial(parse_database, pool_size=pool_size)
    return read(name, parse, expected=expected, default=default)


def read_replica(name: str, *, primary: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry of the replica in DATABASES, or None if there is no replica."""
    expected = "the postgres:// URL of a standby of the database in DATABASE_URL"
    return read(name, partial(parse_replica, primary=primary), expected=expected)


def read_email_server(name: str, *, default: str) -> EmailServer:
    expected = "smtp+tls://USER:PASSWORD@HOST:PORT, or consolemail:// to print mail"
    return read(name, parse_email_server, expected=expected, default=default)


# Functions that parse the values of variables. They raise one of WRONG_VALUE_ERRORS if
# the value is wrong.


def parse_required(text: str) -> str:
    if not text:
        raise ValueError("The variable is empty.")
    return text


def parse_flag(text: str) -> bool:
    return FLAGS[text.lower()]


def parse_number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number.")
    return int(text)


def parse_positive_number(text: str) -> int:
    number = parse_number(text)
    if number == 0:
        raise ValueError("The number is 0.")
    return number


def parse_choice(text: str, *, choices: Sequence[str]) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is not one of {choices}.")
    return text


def parse_url(text: str) -> str:
    URLValidator(schemes=["http", "https"])(text)
    return text.rstrip("/")


def parse_site_url(text: str) -> str:
    url = parse_url(text)
    if url != get_origin(url) or "@" in url:
        raise ValueError(f"{text!r} has more than a scheme and a host.")
    return url


def parse_optional_url(text: str) -> str:
    return parse_url(text) if text else ""


def get_origin(url: str) -> str:
    """Return the scheme and the host of a URL, such as https://orgs.example.com."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def parse_time_zone(text: str) -> str:
    return ZoneInfo(text).key


def parse_phone_region(text: str) -> str:
    region = text.upper()
    if region and region not in SUPPORTED_REGIONS:
        raise ValueError(f"{text!r} is not a country with phone numbers.")
    return region


def parse_openid_server(text: str, *, is_required: bool, allow_http: bool) -> str:
    if not text and not is_required:
        return ""
    # This site relies on HTTPS to make sure that responses, including the provider's
    # keys, come from the provider.
    if not allow_http and (not text.startswith("https://") or "@" in text):
        raise ValueError("The provider must be reached by https.")
    return parse_url(text)


def parse_database(url: str, *, pool_size: int) -> dict[str, Any]:
    scheme, _separator, rest = url.partition("://")
    if scheme not in DATABASE_SCHEMES or not rest:
        raise ValueError("The URL does not name a supported database.")
    database = Env.db_url_config(url)
    if not database["NAME"]:
        raise ValueError("The URL does not name a database.")
    if scheme == "sqlite":
        _configure_sqlite(database)
    else:
        _configure_postgresql(database, pool_size)
    return database


def parse_replica(url: str, *, primary: dict[str, Any]) -> dict[str, Any] | None:
    if not url:
        return None
    if url.startswith("sqlite") or "sqlite" in primary["ENGINE"]:
        raise ValueError("SQLite has no replicas.")
    replica = parse_database(url, pool_size=0)
    # This backend has its own pool, and checks connections itself.
    replica["ENGINE"] = "orgadmin.access.replica_backend"
    replica["CONN_MAX_AGE"] = 0
    replica["CONN_HEALTH_CHECKS"] = False
    replica["TEST"] = {"MIRROR": "default"}
    return replica


def _configure_sqlite(database: dict[str, Any]) -> None:
    # Django's backend, except that migrations preserve triggers.
    database["ENGINE"] = "orgadmin.access.sqlite_backend"
    # SQLite allows one writer at a time. With "IMMEDIATE", a transaction waits for the
    # write lock at its beginning. Otherwise, it could fail halfway because another
    # transaction has the lock.
    database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,  # seconds
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }


def _configure_postgresql(database: dict[str, Any], pool_size: int) -> None:
    # Django's backend, except that migrations block other transactions only briefly.
    database["ENGINE"] = "django_zero_downtime_migrations.backends.postgres"
    database["CONN_HEALTH_CHECKS"] = True
    if pool_size == 0:
        database["CONN_MAX_AGE"] = 60
        return
    options = database.setdefault("OPTIONS", {})
    options["pool"] = {
        "min_size": 1,
        "max_size": pool_size,
        # The number of seconds that a request waits for a connection.
        "timeout": 10,
    }


def parse_email_server(url: str) -> EmailServer:
    if "://" not in url:
        raise ValueError("This is not a URL.")
    values = Env.email_url_config(url)
    return EmailServer(
        backend=values["EMAIL_BACKEND"],
        host=values["EMAIL_HOST"],
        port=values["EMAIL_PORT"],
        host_user=values["EMAIL_HOST_USER"],
        host_password=values["EMAIL_HOST_PASSWORD"],
        use_tls=values.get("EMAIL_USE_TLS", False),
        use_ssl=values.get("EMAIL_USE_SSL", False),
        file_path=values["EMAIL_FILE_PATH"],
    )
