"""Transactions for data migrations. They hardly block others, and are retried."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import DatabaseError, transaction

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# The number of attempts if other transactions block a transaction, and the wait between
# two attempts.
ATTEMPTS = 100
RETRY_SECONDS = 0.1

# PostgreSQL's SQLSTATE codes for errors that other transactions cause.
UNIQUE_VIOLATION = "23505"
LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
RETRIED = (UNIQUE_VIOLATION, LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED)

Result = TypeVar("Result")


def commit(
    schema_editor: BaseDatabaseSchemaEditor,
    work: Callable[..., Result],
    *arguments: Any,
) -> Result:
    """Call `work(*arguments)` in its own transaction, and return the result.

    The migration needs `atomic = False`. On PostgreSQL, if another transaction is in
    the way, this rolls back and calls `work` again. After ATTEMPTS attempts, it raises
    the `DatabaseError`.
    """
    attempt = 1
    while True:
        try:
            with transaction.atomic(using=schema_editor.connection.alias):
                configure_transaction(schema_editor)
                return work(*arguments)
        except DatabaseError as error:
            sqlstate = getattr(error.__cause__, "sqlstate", None)
            if sqlstate not in RETRIED or attempt == ATTEMPTS:
                raise
        attempt += 1
        time.sleep(RETRY_SECONDS)


def configure_transaction(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Configure the current transaction so that it hardly blocks others.

    This only has an effect on PostgreSQL:

    - The lock timeout is short. While this transaction waits for a lock, other
      transactions wait for the locks that it already holds.
    - Sequential scans are turned off. If a table has grown, its statistics may be
      outdated, and PostgreSQL might not use its indexes.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "SET LOCAL lock_timeout = '80ms'; SET LOCAL enable_seqscan = off"
        )
