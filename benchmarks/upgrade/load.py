"""Processes that read and write organizations while a table is upgraded."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks.upgrade.database import connect

PAUSE = 0.01  # seconds between two operations of a process
WATCH_PAUSE = 0.02
TEXT_COLUMNS = ("website", "email", "phone", "address", "tax_id", "notes")

# Shared with the processes, which are forked. The phase counts the steps: 1 is the time
# before the first one, and 0 ends the load.
PHASE = multiprocessing.Value("i", 0)
IS_FORWARDS = multiprocessing.Value("b", True)

# The columns for groups that an insert has to fill: those that are required and, on the
# way forwards, those that exist.
GROUP_COLUMNS = """
    SELECT column_name
    FROM information_schema.columns
    WHERE table_name = 'orgadmin_organization'
    AND column_name IN ('admin_id', 'reviewer_id')
    AND (is_nullable = 'NO' OR %s)
    ORDER BY column_name
"""

# Statements of the load that take longer than 50 ms, and those that they wait for.
WAITING = """
    SELECT
        extract(epoch FROM clock_timestamp() - query_start) * 1000,
        coalesce(wait_event, 'running'),
        left(query, 200),
        ARRAY(
            SELECT left(query, 200)
            FROM pg_stat_activity
            WHERE pid = ANY (pg_blocking_pids(load.pid))
        )
    FROM pg_stat_activity AS load
    WHERE application_name = 'load'
    AND state = 'active'
    AND datname = current_database()
    AND query_start < clock_timestamp() - interval '50 ms'
"""


@dataclass(frozen=True)
class Operation:
    """An operation that a process has done."""

    phase: int
    name: str
    milliseconds: float
    error: str | None


@dataclass(frozen=True)
class Wait:
    """A statement that waited."""

    milliseconds: int
    event: str
    statement: str
    blocked_by: list[str]

    def as_list(self) -> list[Any]:
        return [self.milliseconds, self.event, self.statement, self.blocked_by]


def read(connection: psycopg.Connection, count: int) -> None:
    connection.execute(
        "SELECT id, name, phone FROM orgadmin_organization WHERE id = %s",
        [random.randint(1, count)],
    )


def read_list(connection: psycopg.Connection, count: int) -> None:
    connection.execute(
        """
        SELECT id, name, phone
        FROM orgadmin_organization
        ORDER BY name, id
        LIMIT 100
        OFFSET %s
        """,
        [random.randrange(20) * 100],
    )


def edit(connection: psycopg.Connection, count: int) -> None:
    connection.execute(
        "UPDATE orgadmin_organization SET phone = %s WHERE id = %s",
        [str(time.time()), random.randint(1, count)],
    )


def create(connection: psycopg.Connection, count: int) -> None:
    """Insert an organization in the same way as the release of the current step.

    It gets all required groups and, while migrating forwards, all optional groups.
    """
    with connection.transaction():
        # The lock keeps the columns as they are.
        connection.execute("LOCK TABLE orgadmin_organization IN ROW EXCLUSIVE MODE")
        columns = connection.execute(GROUP_COLUMNS, [bool(IS_FORWARDS.value)])
        # The migration may be creating the groups of the organization with this name.
        row = connection.execute(
            "SELECT name FROM orgadmin_organization WHERE id = %s",
            [random.randint(1, count)],
        ).fetchone()
        values = {"name": row[0], **dict.fromkeys(TEXT_COLUMNS, "")}
        for (column,) in columns.fetchall():
            suffix = column.removesuffix("_id").title()
            values[column] = create_group(connection, row[0], suffix)
        names = ", ".join(values)
        placeholders = ", ".join(["%s"] * len(values))
        connection.execute(
            f"INSERT INTO orgadmin_organization ({names}) VALUES ({placeholders})",
            list(values.values()),
        )


def create_group(connection: psycopg.Connection, name: str, suffix: str) -> int:
    """Create a group with a free name and return its id."""
    group_name = f"{name} {suffix}"
    while True:
        row = connection.execute(
            """
            INSERT INTO auth_group (name)
            VALUES (%s)
            ON CONFLICT DO NOTHING
            RETURNING id
            """,
            [group_name],
        ).fetchone()
        if row is not None:
            return row[0]
        group_name = f"{name} {random.randrange(10**9)} {suffix}"


OPERATIONS = (read, read_list, edit, create)

# What each process does: two read, and two write.
PROCESSES = (
    (read, read_list),
    (read, read_list),
    (edit, create),
    (edit, create),
)


def work(process: int, url: str, count: int) -> list[Operation]:
    """Do the operations of a process until the load ends."""
    done = []
    with connect(url, application_name="load") as connection:
        while True:
            phase = PHASE.value
            if phase == 0:
                return done
            function = random.choice(PROCESSES[process])
            error = None
            start = time.perf_counter()
            try:
                function(connection, count)
            except psycopg.Error as problem:
                error = f"{type(problem).__name__}: {problem}"
            milliseconds = (time.perf_counter() - start) * 1000
            done.append(Operation(phase, function.__name__, milliseconds, error))
            time.sleep(PAUSE)


@dataclass
class Load:
    """The processes, and what they have done. A context manager."""

    url: str
    count: int  # organizations
    operations: list[Operation] = field(default_factory=list)
    longest_waits: dict[int, Wait] = field(default_factory=dict)  # by phase

    def __enter__(self) -> Load:
        PHASE.value = 1
        self.pool = ProcessPoolExecutor(
            len(PROCESSES), multiprocessing.get_context("fork")
        )
        self.workers = [
            self.pool.submit(work, process, self.url, self.count)
            for process in range(len(PROCESSES))
        ]
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        PHASE.value = 0
        self.watcher.join()
        for worker in self.workers:
            self.operations += worker.result()
        self.pool.shutdown()

    def begin_step(self, *, is_forwards: bool) -> None:
        IS_FORWARDS.value = is_forwards
        PHASE.value += 1

    def watch(self) -> None:
        """Record the longest wait of each phase until the load ends."""
        with connect(self.url) as connection:
            while True:
                phase = PHASE.value
                if phase == 0:
                    return
                for milliseconds, *details in connection.execute(WAITING):
                    wait = Wait(round(float(milliseconds)), *details)
                    longest = self.longest_waits.get(phase)
                    if longest is None or wait.milliseconds > longest.milliseconds:
                        self.longest_waits[phase] = wait
                time.sleep(WATCH_PAUSE)

    def summarize(self, phase: int) -> dict[str, Any]:
        """Return the figures of a phase."""
        operations = [each for each in self.operations if each.phase == phase]
        wait = self.longest_waits.get(phase)
        return {
            **summarize_operations(operations),
            "longest": wait.as_list() if wait else None,
        }


def summarize_operations(operations: Sequence[Operation]) -> dict[str, Any]:
    times = sorted(operation.milliseconds for operation in operations)
    errors = [operation.error for operation in operations if operation.error]
    figures = {
        "operations": len(times),
        "failures": len(errors),
        "errors": sorted(set(errors))[:3],
        "p50, ms": round(times[int(len(times) * 0.5)], 1),
        "p99, ms": round(times[int(len(times) * 0.99)], 1),
        "max, ms": round(times[-1], 1),
    }
    for function in OPERATIONS:
        name = function.__name__
        own_times = [each.milliseconds for each in operations if each.name == name]
        figures[f"max {name}, ms"] = round(max(own_times, default=0), 1)
    return figures
