"""Helpers for raw SQL: placeholders, statements in one round trip, and locks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connections
from django.db.models.expressions import RawSQL
from django.utils import timezone

# {database vendor: SQL expression for the time at which the statement began}. For
# SQLite, the result has the format in which Django stores times. "%" is doubled because
# the statements have parameters.
CLOCKS = {
    "postgresql": "STATEMENT_TIMESTAMP()",
    "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')",
}


@dataclass(frozen=True)
class Statement:
    """An SQL statement, and the values of its placeholders "%s"."""

    sql: str
    parameters: list[Any] = field(default_factory=list)


def placeholders(values: Collection[object]) -> str:
    """Return "%s, %s, %s" for three values."""
    return ", ".join(["%s"] * len(values))


def write_constant(value: int | str) -> RawSQL:
    """Return an expression for a constant, which becomes part of the SQL text.

    Use this for the condition of a partial index. SQLite can answer a query from the
    index alone only if the text of the statement contains the constants of the index's
    condition. With parameters, it looks each row up in the table.
    """
    text = str(value).replace("'", "''")
    return RawSQL(text if isinstance(value, int) else f"'{text}'", [])


def read_clock(using: str = "default") -> datetime:
    """Return the time of the database's clock. Runs one query."""
    connection = connections[using]
    sql = f"SELECT {CLOCKS[connection.vendor]}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [])
        [now] = cursor.fetchone()
    time = read_time(now)
    assert time is not None
    return time


def read_time(value: datetime | str | None) -> datetime | None:
    """Return a time from raw SQL as an aware datetime, and None as None.

    SQLite returns times as text in UTC.
    """
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    if time is not None and timezone.is_naive(time):
        return time.replace(tzinfo=UTC)
    return time


def lock_until_commit(*key: int, using: str = "default") -> None:
    """Make other transactions that take the same lock wait until this one ends.

    `key` is one signed 64-bit number or two signed 32-bit numbers. Code that only reads
    does not wait. Does nothing on SQLite, which has only one writer at a time anyway.
    """
    if connections[using].vendor == "postgresql":
        sql = f"SELECT pg_advisory_xact_lock({placeholders(key)})"
        with connections[using].cursor() as cursor:
            cursor.execute(sql, key)


def try_lock_until_commit(*key: int, using: str = "default") -> bool:
    """Take the lock of `lock_until_commit()`, unless another transaction holds it.

    Returns whether this transaction holds it now. Always returns True on SQLite.
    """
    if connections[using].vendor != "postgresql":
        return True
    sql = f"SELECT pg_try_advisory_xact_lock({placeholders(key)})"
    with connections[using].cursor() as cursor:
        cursor.execute(sql, key)
        return cursor.fetchone()[0]


def execute_together(statements: Sequence[Statement], *, using: str) -> None:
    """Execute the statements in order. On PostgreSQL, this takes one round trip."""
    if connections[using].vendor == "postgresql":
        parameters: list[Any] = []
        for statement in statements:
            parameters += statement.parameters
        sql = "; ".join(statement.sql for statement in statements)
        statements = [Statement(sql, parameters)]
    with connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.sql, statement.parameters)
