"""Many rows at once: a statement per table, the fastest way to write them."""

import re
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.color import no_style
from django.db import connection

from orgadmin.access.roles import ROLES
from orgadmin.models import Organization
from orgadmin.records.columns import FIELDS

NAME = "a.word || ' ' || b.word || ' ' || s.i"


def run(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)


def series(first, count):
    """Return SQL for the numbers of `count` new rows as s.i, with two words for each as a.word and b.word."""
    last = first + count - 1
    series = f"generate_series({first}, {last}) AS s(i)"
    if connection.vendor == "sqlite":
        numbers = f"SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}"
        series = f"(WITH RECURSIVE n(i) AS ({numbers}) SELECT i FROM n) s"
    return f"{series} JOIN words a ON a.id = s.i % 64 JOIN words b ON b.id = (s.i / 64) % 64"


def make_words():
    """Make the table that names are made of: 64 words of the demo's organizations."""
    text = Path(settings.BASE_DIR, "orgadmin/data/demo.csv").read_text(encoding="utf-8")
    words = sorted(set(re.findall("[A-Z][a-z]{4,}", text)))[:64]
    run("CREATE TABLE IF NOT EXISTS words (id integer PRIMARY KEY, word text)")
    run("DELETE FROM words")
    for number, word in enumerate(words):
        run("INSERT INTO words VALUES (%s, %s)", number, word)


def find_first(*models):
    return 1 + max(
        model.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        for model in models
    )


def insert_organizations(count, tag=""):
    """Write organizations with their groups, grants and histories: a statement per table. Return their first id."""
    first, groups = find_first(Organization), find_first(Group)
    rows, name = series(first, count), f"{NAME} || '{tag}'"
    ids = [
        f"{groups} + {len(ROLES)} * (s.i - {first}) + {place}"
        for place in range(len(ROLES))
    ]
    for role, pk in zip(ROLES, ids):
        run(
            f"INSERT INTO auth_group (id, name) SELECT {pk}, {name} || ' {role.suffix}' FROM {rows}"
        )
    values = f"{name}, 'R' || s.i, 'https://example.com/' || s.i, 'office' || s.i || '@example.com', '', '', '', ''"
    columns = ", ".join(FIELDS)
    line = "chr(10)" if connection.vendor == "postgresql" else "char(10)"
    run(
        f"INSERT INTO orgadmin_organization (id, {columns}, search_text, {', '.join(role.attname for role in ROLES)})"
        f" SELECT s.i, {values}, lower({name}) || {line} || 'r' || s.i || {line}, {', '.join(ids)} FROM {rows}"
    )
    for role in ROLES:
        codenames = [f"{action}_organization" for action in role.permissions]
        run(
            "INSERT INTO orgadmin_organizationgroupobjectpermission (permission_id, group_id, content_object_id)"
            f" SELECT p.id, o.{role.attname}, o.id FROM orgadmin_organization o, auth_permission p WHERE o.id >= %s"
            f" AND p.codename IN ({', '.join(['%s'] * len(codenames))})",
            first,
            *codenames,
        )
    run(
        f"INSERT INTO orgadmin_historicalorganization (id, {columns}, history_date, history_type)"
        f" SELECT id, {columns}, CURRENT_TIMESTAMP, '+' FROM orgadmin_organization WHERE id >= %s",
        first,
    )
    set_sequences(Group, Organization)
    return first


def set_sequences(*models):
    for statement in connection.ops.sequence_reset_sql(no_style(), models):
        run(statement)
