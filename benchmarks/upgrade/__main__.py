"""Upgrade a table that is in use, from the first step to the last, and back again.

    python -m benchmarks.upgrade [COUNT]

Fills the PostgreSQL database of DATABASE_URL, whose user must be a superuser. Two
readers and two writers work all the time, each in a process. Prints a line of JSON for
each step: its seconds, its memory, how often it had to try again, and the number,
failures and latencies of the operations that began in it, with the one that waited
longest and what it waited for. The first of these lines is the load without a
migration.

Before that, two data steps are compared, without load, with a single SQL statement that
writes the same.
"""

import argparse
import os
import time
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from benchmarks.results import print_result
from benchmarks.upgrade.database import ask, checkpoint, copy, migrate, run
from benchmarks.upgrade.load import Load

MIGRATIONS = sorted(path.stem for path in Path("orgadmin/migrations").glob("0*.py"))
SECONDS_ALONE = 30  # of the load without a migration

INSERT_ORGANIZATIONS = """
    INSERT INTO orgadmin_organization
        (name, reference, website, email, phone, address, tax_id, notes)
    SELECT
        initcap(translate(left(md5(k::text), 12), '0123456789', 'ghijklmnop'))
            || (ARRAY[' Ltd', ' Inc'])[1 + k %% 2],
        'R' || i,
        'https://example.com/' || i,
        'office' || i || '@example.com',
        '+49 30 ' || i,
        i || ' High Street',
        'DE' || i,
        repeat('A note. ', i %% 20)
    FROM
        generate_series(1, %s) AS i,
        -- Every hundredth organization has the name of the one before.
        LATERAL (SELECT i - (i %% 100 = 0)::int) AS number(k)
"""

CREATE_ADMIN_GROUPS = """
    WITH based AS (
        SELECT id, trim(left(name, 50)) AS base
        FROM orgadmin_organization
    ), numbered AS (
        SELECT
            id, base, row_number() OVER (PARTITION BY base ORDER BY id) AS number
        FROM based
    ), named AS (
        SELECT
            id,
            base || CASE WHEN number > 1 THEN ' ' || id ELSE '' END || ' Admin' AS name
        FROM numbered
    ), created AS (
        INSERT INTO auth_group (name)
        SELECT name
        FROM named
        ORDER BY id
        RETURNING id, name
    )
    UPDATE orgadmin_organization AS organization
    SET admin_id = created.id
    FROM named
    JOIN created USING (name)
    WHERE named.id = organization.id
"""

GRANT_PERMISSIONS = """
    INSERT INTO orgadmin_organizationgroupobjectpermission
        (permission_id, group_id, content_object_id)
    SELECT
        permission.id,
        CASE role_permission.role
            WHEN 'admin' THEN organization.admin_id
            ELSE organization.reviewer_id
        END,
        organization.id
    FROM orgadmin_organization AS organization
    CROSS JOIN unnest(%s::text[], %s::text[]) AS role_permission(role, codename)
    JOIN auth_permission AS permission
        ON permission.codename = role_permission.codename
    ORDER BY organization.id
"""

# Equal in two databases if both gave the same names to the same organizations.
DIGEST_OF_NAMES = """
    SELECT md5(
        string_agg(organization.id || admin_group.name, ',' ORDER BY organization.id)
    )
    FROM orgadmin_organization AS organization
    JOIN auth_group AS admin_group ON admin_group.id = organization.admin_id
"""

PERMISSION_COUNTS = """
    SELECT count(*), count(DISTINCT (permission_id, group_id))
    FROM orgadmin_organizationgroupobjectpermission
"""


@dataclass(frozen=True)
class Step:
    """A migration in one direction."""

    name: str
    target: str  # where to migrate to
    direction: str  # "forwards" or "backwards"


def list_steps() -> list[Step]:
    """Return the steps from the first migration to the last, and back."""
    forwards = [Step(name, name, "forwards") for name in MIGRATIONS[1:]]
    backwards = [
        Step(name, previous, "backwards") for previous, name in pairwise(MIGRATIONS)
    ]
    return [*forwards, *reversed(backwards)]


def find_migration(number: str) -> str:
    return next(name for name in MIGRATIONS if name.startswith(number))


def compare_data_steps(url: str) -> None:
    with copy(url) as copy_url:
        migrate(copy_url, "orgadmin", find_migration("0002"))
        compare_data_step(
            copy_url, find_migration("0003"), DIGEST_OF_NAMES, CREATE_ADMIN_GROUPS
        )
        migrate(copy_url, "orgadmin", find_migration("0008"))
        grant_step = find_migration("0009")
        migration = import_module(f"orgadmin.migrations.{grant_step}")
        roles = []
        codenames = []
        for role, permissions in migration.ROLES.items():
            for codename in permissions:
                roles.append(role)
                codenames.append(codename)
        compare_data_step(
            copy_url, grant_step, PERMISSION_COUNTS, GRANT_PERMISSIONS, roles, codenames
        )


def compare_data_step(
    url: str, step: str, check: str, statement: str, *parameters: object
) -> None:
    """Compare a step with a statement that writes the same.

    `check` is a query that must have the same answer after both.
    """
    with copy(url) as copy_url:
        statement_seconds = run(copy_url, statement, *parameters)
        expected = ask(copy_url, check)
    checkpoint(url)
    migration = migrate(url, "orgadmin", step)
    assert ask(url, check) == expected
    figures = {
        **migration.as_figures(),
        "one statement, s": statement_seconds,
        "ratio": round(migration.seconds / statement_seconds, 2),
    }
    print_result(f"{step} without load", **figures)


def upgrade_under_load(url: str, count: int) -> None:
    """Migrate forwards and back, and print each step, even if one fails."""
    lines = [{"step": "none", "s": SECONDS_ALONE}]
    load = Load(url, count)
    try:
        with load:
            time.sleep(SECONDS_ALONE)
            for step in list_steps():
                load.begin_step(is_forwards=step.direction == "forwards")
                lines.append({"step": step.name, "direction": step.direction})
                migration = migrate(url, "orgadmin", step.target)
                lines[-1] |= migration.as_figures()
    finally:
        for phase, line in enumerate(lines, start=1):
            figures = {**line, **load.summarize(phase)}
            print_result("upgrade", **figures)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", nargs="?", type=int, default=1_000_000)
    count = parser.parse_args().count
    url = os.environ["DATABASE_URL"]
    migrate(url, "guardian")
    migrate(url, "admin")
    migrate(url, "orgadmin", MIGRATIONS[0])
    seconds = run(url, INSERT_ORGANIZATIONS, count)
    run(url, "VACUUM ANALYZE")
    print_result("fill", organizations=count, s=seconds)
    compare_data_steps(url)
    upgrade_under_load(url, count)


if __name__ == "__main__":
    main()
