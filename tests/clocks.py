"""Moving the database clock, the application's clock, or both."""

from contextlib import contextmanager
from datetime import UTC, datetime
from unittest import mock

from django.db import connection

# Found before PostgreSQL's own function, because its schema comes first in the path.
POSTGRESQL = """
    CREATE SCHEMA IF NOT EXISTS moved_clock;

    CREATE OR REPLACE FUNCTION moved_clock.statement_timestamp()
    RETURNS timestamptz
    LANGUAGE sql
    STABLE
    RETURN '{moment}'::timestamptz;

    SET search_path = moved_clock, pg_catalog, public;
"""


@contextmanager
def database_time(moment):
    """Stop the database clock at a moment, for this connection."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(POSTGRESQL.format(moment=moment.isoformat()))
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SET search_path = DEFAULT")
        return
    replace_sqlite_clock(connection)
    with mock.patch.object(sqlite_clock, "moment", moment):
        yield


def replace_sqlite_clock(connection):
    """Make a connection to SQLite get the time from `tell_time()`.

    SQLite cannot get its own function back, so this one stays. Only when it is replaced
    does SQLite compile statements again that called its own.
    """
    connection.ensure_connection()
    for _attempt in range(2):
        connection.connection.create_function("STRFTIME", 2, tell_time)


class SQLiteClock:
    moment = None  # None means now


sqlite_clock = SQLiteClock()


def tell_time(_format, _now):
    """Return the time as SQLite does for Django's `Now()`."""
    utc = (sqlite_clock.moment or datetime.now(UTC)).astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S.") + f"{utc.microsecond // 1000:03}"


@contextmanager
def application_time(moment):
    """Stop the application's clock at a moment."""
    with mock.patch("django.utils.timezone.now", lambda: moment):
        yield


@contextmanager
def time(moment):
    """Stop both clocks at a moment."""
    with database_time(moment), application_time(moment):
        yield
