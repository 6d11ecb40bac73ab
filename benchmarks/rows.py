"""Write many rows with one SQL statement per table, the fastest way to do so."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.color import no_style
from django.db import connection, models
from django.db.models import F
from django.utils import timezone

from orgadmin.access.roles import ROLES, codename
from orgadmin.models import Invitation, Organization

WORDS = 64
THREE_YEARS = 3 * 365 * 24  # hours

# The columns that every kind of organization in the benchmarks has, and their values
# for a row of `new_rows()`.
COLUMNS = "name, reference, website, email, phone, address, tax_id, notes"
VALUES = """
    new.name,
    'R' || new.id,
    'https://example.com/' || new.id,
    'office' || new.id || '@example.com',
    '', '', '', ''
"""


def run(sql: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)


def make_words() -> None:
    """Create the table of words that names are made of, from the demo's names."""
    path = Path(settings.BASE_DIR, "orgadmin/data/demo.csv")
    found = re.findall("[A-Z][a-z]{4,}", path.read_text(encoding="utf-8"))
    run("CREATE TABLE IF NOT EXISTS words (id integer PRIMARY KEY, word text)")
    run("DELETE FROM words")
    for number, word in enumerate(sorted(set(found))[:WORDS]):
        run("INSERT INTO words VALUES (%s, %s)", number, word)


def find_first_free_id(*tables: type[models.Model]) -> int:
    """Return the id after the highest one of all these tables."""
    highest = 0
    for model in tables:
        pks = model.objects.order_by("-pk").values_list("pk", flat=True)
        highest = max(highest, pks.first() or 0)
    return highest + 1


def new_rows(first: int, count: int, tag: str = "") -> str:
    """Return SQL for a table of `count` new rows, with columns `id` and `name`.

    The name is two words and the id, followed by the tag.
    """
    return f"""(
        SELECT
            numbers.i AS id,
            first_word.word || ' ' || second_word.word || ' ' || numbers.i || '{tag}'
                AS name
        FROM {number_series(first, first + count - 1)} AS numbers
        JOIN words AS first_word ON first_word.id = numbers.i % {WORDS}
        JOIN words AS second_word ON second_word.id = numbers.i / {WORDS} % {WORDS}
    )"""


def number_series(first: int, last: int) -> str:
    """Return SQL for a table of numbers with a column `i`."""
    if connection.vendor == "postgresql":
        return f"(SELECT i FROM generate_series({first}, {last}) AS series(i))"
    return f"""(
        WITH RECURSIVE series(i) AS (
            SELECT {first}
            UNION ALL
            SELECT i + 1 FROM series WHERE i < {last}
        )
        SELECT i FROM series
    )"""


def hours_ago(hours: str) -> str:
    """Return SQL for the time that is so many hours ago. `hours` is SQL, too."""
    if connection.vendor == "postgresql":
        return f"CURRENT_TIMESTAMP - ({hours}) * INTERVAL '1 hour'"
    return f"STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW', -({hours}) || ' hours')"


def insert_organizations(count: int, tag: str = "") -> int:
    """Write organizations with their groups, permissions and history.

    Runs one statement per table and role. Returns the first id.
    """
    first = find_first_free_id(Organization)
    first_group = find_first_free_id(Group)
    rows = new_rows(first, count, tag)
    group_ids = [
        f"{first_group} + {len(ROLES)} * (new.id - {first}) + {position}"
        for position in range(len(ROLES))
    ]
    for role, group_id in zip(ROLES, group_ids):
        run(f"""
            INSERT INTO auth_group (id, name)
            SELECT {group_id}, new.name || ' {role.suffix}'
            FROM {rows} AS new
        """)
    group_columns = ", ".join(role.attname for role in ROLES)
    newline = "chr(10)" if connection.vendor == "postgresql" else "char(10)"
    run(f"""
        INSERT INTO orgadmin_organization
            (id, {COLUMNS}, search_text, name_key, sort_name, {group_columns})
        SELECT
            new.id,
            {VALUES},
            lower(new.name) || {newline} || 'r' || new.id || {newline},
            lower(new.name),
            lower(new.name),
            {", ".join(group_ids)}
        FROM {rows} AS new
    """)
    grant_permissions(first)
    begin_history(first)
    set_sequences(Group, Organization)
    return first


def grant_permissions(first: int) -> None:
    """Grant the role table's permissions on organizations from an id onwards."""
    for role in ROLES:
        codenames = [codename(permission) for permission in role.permissions]
        placeholders = ", ".join(["%s"] * len(codenames))
        run(
            f"""
            INSERT INTO orgadmin_organizationgroupobjectpermission
                (permission_id, group_id, content_object_id)
            SELECT permission.id, organization.{role.attname}, organization.id
            FROM orgadmin_organization AS organization
            CROSS JOIN auth_permission AS permission
            WHERE organization.id >= %s
            AND permission.codename IN ({placeholders})
            """,
            first,
            *codenames,
        )


def begin_history(first: int) -> None:
    """Write the first version of organizations from an id onwards."""
    run(
        f"""
        INSERT INTO orgadmin_historicalorganization
            (id, {COLUMNS}, history_date, history_type)
        SELECT id, {COLUMNS}, CURRENT_TIMESTAMP, '+'
        FROM orgadmin_organization
        WHERE id >= %s
        """,
        first,
    )


def set_sequences(*tables: type[models.Model]) -> None:
    """Advance the sequences beyond the IDs that were written explicitly."""
    for statement in connection.ops.sequence_reset_sql(no_style(), tables):
        run(statement)


def vary_organizations(first: int) -> None:
    """Give organizations from an id onwards what the filters of the list look for.

    10 % lack a field. One in 1,000 has a pending invitation, and one in 1,000 one that
    has expired. They were created and changed within the last three years.
    """
    run(f"""
        UPDATE orgadmin_organization
        SET phone = '1', address = 'Road 1', tax_id = 'T'
        WHERE id >= {first} AND id % 10 <> 3
    """)
    for column, factor in (("created_at", 7919), ("changed_at", 104729)):
        time = hours_ago(f"id * {factor} % {THREE_YEARS}")
        run(f"""
            UPDATE orgadmin_organization SET {column} = {time} WHERE id >= {first}
        """)
    organizations = Organization.objects.filter(pk__gte=first).order_by()
    for remainder, sent_at in (
        (5, timezone.now()),
        (6, timezone.now() - timedelta(days=365)),
    ):
        numbered = organizations.annotate(remainder=F("pk") % 1_000)
        invited = numbered.filter(remainder=remainder)
        Invitation.objects.bulk_create(
            Invitation(
                organization_id=pk, email="a@example.com", role="admin", sent_at=sent_at
            )
            for pk in invited.values_list("pk", flat=True)
        )
