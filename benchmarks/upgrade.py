"""Upgrade a table that is in use, from its first step to the last, and back: what it takes, and who waits how long.

    python -m benchmarks.upgrade [COUNT]    # PostgreSQL, as superuser; fills the database of DATABASE_URL

Two readers and two writers work all the time, each in a process. A line of JSON tells about each step: its seconds, its
memory, how often it gave way, and about the operations that began in it: number, failures, latencies, and the one that
waited longest, with what it waited for. The first line is the load without a migration. Before that, and without load,
two data steps are compared, on copies, with one SQL statement that writes the same."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

STEPS = sorted(path.stem for path in Path("orgadmin/migrations").glob("0*.py"))
ALONE, PAUSE = (
    30,
    0.01,
)  # seconds: the load without a migration, and between two operations of a process
FILL = """
INSERT INTO orgadmin_organization (name, reference, website, email, phone, address, tax_id, notes)
SELECT initcap(translate(left(md5(k::text), 12), '0123456789', 'ghijklmnop')) || (ARRAY[' Ltd', ' Inc'])[1 + k %% 2],
    'R' || i, 'https://example.com/' || i, 'office' || i || '@example.com', '+49 30 ' || i, i || ' High Street',
    'DE' || i, repeat('A note. ', i %% 20)
FROM generate_series(1, %s) AS i, LATERAL (SELECT i - (i %% 100 = 0)::int) AS number(k)
"""
GROUPS = """
WITH named AS (
    SELECT id, base || CASE WHEN row_number() OVER (PARTITION BY base ORDER BY id) > 1 THEN ' ' || id ELSE '' END
        || ' Admin' AS name FROM (SELECT id, trim(left(name, 50)) AS base FROM orgadmin_organization) AS based
), created AS (INSERT INTO auth_group (name) SELECT name FROM named ORDER BY id RETURNING id, name)
UPDATE orgadmin_organization o SET admin_id = created.id FROM named JOIN created USING (name) WHERE named.id = o.id
"""
GRANTS = """
INSERT INTO orgadmin_organizationgroupobjectpermission (permission_id, group_id, content_object_id)
SELECT p.id, CASE r.role WHEN 'admin' THEN o.admin_id ELSE o.reviewer_id END, o.id
FROM orgadmin_organization o CROSS JOIN unnest(%s::text[], %s::text[]) AS r(role, codename) JOIN auth_permission p
ON p.codename = r.codename ORDER BY o.id
"""
NAMES = "SELECT md5(string_agg(o.id || g.name, ',' ORDER BY o.id)) FROM orgadmin_organization o JOIN auth_group g ON g.id ="
COUNTS = "SELECT count(*), count(DISTINCT (permission_id, group_id)) FROM orgadmin_organizationgroupobjectpermission"
COLUMNS = """
SELECT column_name FROM information_schema.columns WHERE table_name = 'orgadmin_organization'
AND column_name IN ('admin_id', 'reviewer_id') AND (is_nullable = 'NO' OR %s) ORDER BY column_name
"""
WAITS = """
SELECT extract(epoch FROM clock_timestamp() - query_start) * 1000, coalesce(wait_event, 'running'), left(query, 200),
    ARRAY(SELECT left(query, 200) FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(load.pid)))
FROM pg_stat_activity load WHERE application_name = 'load' AND state = 'active' AND datname = current_database()
AND query_start < clock_timestamp() - interval '50 ms'
"""
PHASE = multiprocessing.Value(
    "i", 0
)  # of the load: 1 is that without a migration; 0 ends it
FORWARDS = multiprocessing.Value("b", True)


def tell(**line):
    print(json.dumps(line), flush=True)


def connect(url, **options):
    return psycopg.connect(url, autocommit=True, prepare_threshold=None, **options)


def run(url, sql, *parameters):
    """Run a statement; return its seconds."""
    with connect(url) as connection:
        connection.execute("CHECKPOINT")
        start = time.perf_counter()
        connection.execute(sql, parameters or None)
        return round(time.perf_counter() - start, 2)


def ask(url, sql):
    with connect(url) as connection:
        return connection.execute(sql).fetchone()


def migrate(url, *target):
    """Migrate in a process; return what it took."""
    environment = os.environ | {
        "DATABASE_URL": url,
        "DEBUG": "false",
        "SECRET_KEY": "benchmarks",
    }
    command, start = (
        [sys.executable, "-W", "ignore", "manage.py", "migrate", *target],
        time.perf_counter(),
    )
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = process.stdout.read()
    _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        sys.exit(printed)
    seconds = round(time.perf_counter() - start, 2)
    return {
        "s": seconds,
        "peak, MB": usage.ru_maxrss // 1024,
        "gave way": printed.count("Gave way"),
    }


@contextmanager
def copy(url):
    """Copy a database that nobody uses; yield the URL of the copy."""
    parts = urlsplit(url)
    server, name = parts._replace(path="/postgres").geturl(), parts.path[1:]
    run(server, f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"')
    try:
        yield parts._replace(path=f"/{name}_copy").geturl()
    finally:
        run(server, f'DROP DATABASE "{name}_copy" WITH (FORCE)')


def compare_data_steps(url):
    with copy(url) as ours:
        migrate(ours, "orgadmin", STEPS[1])
        compare(ours, STEPS[2], f"{NAMES} o.admin_id", GROUPS)
        migrate(ours, "orgadmin", STEPS[7])
        roles = import_module(f"orgadmin.migrations.{STEPS[8]}").ROLES
        pairs = [
            (role, codename) for role, held in roles.items() for codename, _ in held
        ]
        compare(ours, STEPS[8], COUNTS, GRANTS, *map(list, zip(*pairs)))


def compare(ours, step, check, sql, *parameters):
    with copy(ours) as other:
        statement, expected = run(other, sql, *parameters), ask(other, check)
    run(ours, "SELECT")
    taken = migrate(ours, "orgadmin", step)
    assert ask(ours, check) == expected
    tell(
        what=f"{step} without load",
        **taken,
        **{"one statement, s": statement, "ratio": round(taken["s"] / statement, 2)},
    )


def read(connection, count):
    connection.execute(
        "SELECT id, name, phone FROM orgadmin_organization WHERE id = %s",
        [random.randint(1, count)],
    )


def read_list(connection, count):
    page = random.randrange(20) * 100
    connection.execute(
        f"SELECT id, name, phone FROM orgadmin_organization ORDER BY name, id LIMIT 100 OFFSET {page}"
    )


def edit(connection, count):
    values = [str(time.time()), random.randint(1, count)]
    connection.execute(
        "UPDATE orgadmin_organization SET phone = %s WHERE id = %s", values
    )


def create(connection, count):
    """Insert an organization as the release does that fits the step: with the groups that it must have, and on the way
    forwards with those that it may have."""
    with connection.transaction():
        connection.execute(
            "LOCK TABLE orgadmin_organization IN ROW EXCLUSIVE MODE"
        )  # the columns stay as they are
        columns = [
            column for (column,) in connection.execute(COLUMNS, [bool(FORWARDS.value)])
        ]
        number = random.randint(
            1, count
        )  # the groups of this one may be made at the same time
        (name,) = connection.execute(
            "SELECT name FROM orgadmin_organization WHERE id = %s", [number]
        ).fetchone()
        row = {
            "name": name,
            **dict.fromkeys(
                ("website", "email", "phone", "address", "tax_id", "notes"), ""
            ),
        }
        row |= {
            column: create_group(connection, name, column.removesuffix("_id").title())
            for column in columns
        }
        sql = f"INSERT INTO orgadmin_organization ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
        connection.execute(sql, list(row.values()))


def create_group(connection, name, suffix):
    insert, group = (
        "INSERT INTO auth_group (name) VALUES (%s) ON CONFLICT DO NOTHING RETURNING id",
        f"{name} {suffix}",
    )
    while not (row := connection.execute(insert, [group]).fetchone()):
        group = f"{name} {random.randrange(10**9)} {suffix}"
    return row[0]


KINDS = [
    (read, read_list),
    (read, read_list),
    (edit, create),
    (edit, create),
]  # of each process


def work(number, url, count):
    """Do operations until the load ends; return [(phase, operation, milliseconds, error or None)]."""
    done = []
    with connect(url, application_name="load") as connection:
        while phase := PHASE.value:
            operation, error, start = (
                random.choice(KINDS[number]),
                None,
                time.perf_counter(),
            )
            try:
                operation(connection, count)
            except psycopg.Error as problem:
                error = f"{type(problem).__name__}: {problem}"
            done.append(
                (phase, operation.__name__, (time.perf_counter() - start) * 1000, error)
            )
            time.sleep(PAUSE)
    return done


def watch(url, longest):
    """Note in `longest`, {phase: (milliseconds, wait event, statement, those before it)}, until the load ends."""
    with connect(url) as connection:
        while phase := PHASE.value:
            for wait in connection.execute(WAITS):
                longest[phase] = max(
                    longest.get(phase, (0,)), (round(float(wait[0])), *wait[1:])
                )
            time.sleep(0.02)


def upgrade(url, count):
    """Go all the way forwards and back under load, and tell about each step, also where one fails."""
    forwards = [(step, step, "forwards") for step in STEPS[1:]]
    backwards = [
        (step, target, "backwards") for target, step in reversed(list(pairwise(STEPS)))
    ]
    lines, longest = [{"step": "none", "s": ALONE}], {}
    with ProcessPoolExecutor(len(KINDS), multiprocessing.get_context("fork")) as pool:
        PHASE.value = 1
        workers = [
            pool.submit(work, number, url, count) for number in range(len(KINDS))
        ]
        watcher = threading.Thread(target=watch, args=[url, longest])
        watcher.start()
        try:
            time.sleep(ALONE)
            for step, target, direction in forwards + backwards:
                FORWARDS.value = direction == "forwards"
                PHASE.value += 1
                lines.append({"step": step, "direction": direction})
                lines[-1] |= migrate(url, "orgadmin", target)
        finally:
            PHASE.value = 0
            watcher.join()
            done = [operation for worker in workers for operation in worker.result()]
            for phase, line in enumerate(lines, 1):
                operations = [operation for operation in done if operation[0] == phase]
                tell(
                    what="upgrade",
                    **line,
                    **summarize(operations),
                    longest=longest.get(phase),
                )


def summarize(operations):
    times = sorted(milliseconds for _, _, milliseconds, _ in operations)
    errors = [error for *_, error in operations if error]
    line = {
        "operations": len(times),
        "failures": len(errors),
        "errors": sorted(set(errors))[:3],
    }
    parts = {"p50": 0.5, "p99": 0.99, "max": 1 - 1e-9}
    line |= {
        f"{name}, ms": round(times[int(len(times) * part)], 1)
        for name, part in parts.items()
    }
    for kind in (read, read_list, edit, create):
        line[f"max {kind.__name__}, ms"] = round(
            max((o[2] for o in operations if o[1] == kind.__name__), default=0), 1
        )
    return line


def main(count=1_000_000):
    url = os.environ["DATABASE_URL"]
    migrate(url, "guardian")
    migrate(url, "admin")
    migrate(url, "orgadmin", STEPS[0])
    seconds = run(url, FILL, count)
    run(url, "VACUUM ANALYZE")
    tell(what="fill", organizations=count, s=seconds)
    compare_data_steps(url)
    upgrade(url, count)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
