"""The groups that organizations own: finding their names, creating and renaming them, and what they are permitted."""

import random
from collections import Counter
from itertools import chain

from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connections, transaction

from orgadmin.access.roles import (
    FIRST_FREE,
    ROLES,
    group_base,
    group_name,
    is_generated,
)

CHUNK = 10_000  # names in one query, below SQLite's limit of 32,766 parameters


BEYOND = (
    range(10**5, 10**6),
    range(10**9, 10**10),
)  # numbers that are tried beyond FIRST_FREE


ATTEMPTS = 100  # lost races for a name before a rename gives up


def find_free_names(wanted, *, using):
    """Return a free group name for each (organization's name, role) in `wanted`, in that order, all distinct.
    At most three queries (per CHUNK names), however many names are taken, unless all numbers tried at random are.
    Another transaction may take a name before it is used: the writer finds out, and asks again."""
    keys = [(group_base(name), role) for name, role in wanted]
    names, taken, tried = [None] * len(keys), set(), Counter()
    few = len(set(keys)) <= len(ROLES)  # of many names few are taken
    while None in names:
        pools = {}  # of those that still have none
        for key, count in Counter(
            key for key, name in zip(keys, names) if name is None
        ).items():
            end = FIRST_FREE if few or tried[key] else min(2 * count, FIRST_FREE)
            numbers = range(tried[key], end)
            if not numbers:  # so random that writers do not meet, and wait for another
                numbers = [
                    number
                    for beyond in BEYOND
                    for number in random.sample(beyond, 8 + 2 * count)
                ]
            pools[key], tried[key] = (
                [group_name(*key, number) for number in numbers],
                end,
            )
        candidates = list({name for pool in pools.values() for name in pool} - taken)
        for start in range(0, len(candidates), CHUNK):
            groups = Group.objects.using(using).filter(
                name__in=candidates[start : start + CHUNK]
            )
            taken.update(groups.values_list("name", flat=True))
        free = {
            key: (name for name in pool if name not in taken)
            for key, pool in pools.items()
        }
        for position, key in enumerate(keys):
            if names[position] is None:
                names[position] = next(free[key], None)
                taken.add(names[position])
    return names


def create_groups(organizations, *, using):
    """Create both groups of each new organization and set them on it; the caller saves it in the same transaction.
    A name that another transaction takes meanwhile is left to it, and no existing group is adopted. Transactions that
    save several organizations of the same names in another order can deadlock, as with any unique index."""
    missing = [(organization, role) for organization in organizations for role in ROLES]
    names = [
        group_name(group_base(organization.name), role)
        for organization, role in missing
    ]  # most are free
    while missing:
        created = _insert(names, using)
        for (organization, role), name in zip(missing, names):
            setattr(organization, role.attname, created.pop(name, None))
        missing = [
            pair for pair in missing if getattr(pair[0], pair[1].attname) is None
        ]
        names = find_free_names(
            [(organization.name, role) for organization, role in missing], using=using
        )
    for organization in organizations:
        organization.created_groups = organization.group_ids


def _insert(names, using):
    """Insert groups; return {name: id} of those whose name was still free: the ORM has no such insert."""
    connection = connections[using]
    table, key, column = map(
        connection.ops.quote_name, (Group._meta.db_table, "id", "name")
    )
    values = ", ".join(["(%s)"] * len(names))
    sql = f"INSERT INTO {table} ({column}) VALUES {values} ON CONFLICT DO NOTHING RETURNING {key}, {column}"
    with connection.cursor() as cursor:
        cursor.execute(sql, names)
        return {name: pk for pk, name in cursor.fetchall()}


def rename_groups(organization, groups, old_name, *, using):
    """Give the groups that still carry a name generated from `old_name` one from the organization's new name.
    `groups` are {role: (group id, group name)} as stored. At most six queries, none where the base is the same."""
    if group_base(old_name) != group_base(organization.name):
        follow = [
            role
            for role in ROLES
            if is_generated(groups[role][1], old_name, role, organization.pk)
        ]
        give_names(
            organization, {role: groups[role][0] for role in follow}, using=using
        )


def give_names(organization, groups, *, using):
    """Give `groups`, {role: group id}, names from the organization's name."""
    for attempt in range(ATTEMPTS if groups else 0):
        names = find_free_names(
            [(organization.name, role) for role in groups], using=using
        )
        renamed = [Group(pk=pk, name=name) for pk, name in zip(groups.values(), names)]
        try:
            with transaction.atomic(using=using):
                Group.objects.using(using).bulk_update(renamed, ["name"])
            break
        except IntegrityError:  # somebody took one of the names meanwhile
            if attempt == ATTEMPTS - 1:
                raise
    for role in groups:
        organization._state.fields_cache.pop(role.key, None)  # the old name


def grant_permissions(model, organizations, *, using, also=()):
    """Grant the permissions of the role table to the groups of new organizations: one statement. `also` are further
    ones, (SQL, parameters), that PostgreSQL takes in one go with it. The ids are kept with Django's own record of the
    model's content type, which it forgets when it migrates.
    Raises RuntimeError where the permissions themselves do not exist, as in a database that was never migrated."""
    kind = ContentType.objects.db_manager(using).get_for_model(model)
    granted = [
        (get_permission_codename(act, model._meta), role.attname)
        for role in ROLES
        for act in role.actions
    ]
    ids = getattr(kind, "permission_ids", None) or dict(
        kind.permission_set.using(using).values_list("codename", "pk")
    )
    if missing := {codename for codename, _ in granted} - ids.keys():
        raise RuntimeError(
            f"There are no permissions {missing}. Run 'manage.py migrate', which creates them."
        )
    kind.permission_ids = ids
    table = model._meta.get_field("group_grants").related_model._meta.db_table
    rows = [
        f"({ids[name]}, {int(getattr(row, key))}, {int(row.pk)})"
        for row in organizations
        for name, key in granted
    ]
    sql = f"INSERT INTO {table} (permission_id, group_id, content_object_id) VALUES {', '.join(rows)}"
    execute([(sql, []), *also], using=using)


def execute(statements, *, using):
    """Execute each (SQL, parameters), on PostgreSQL in one go."""
    if connections[using].vendor == "postgresql":
        sql, parameters = zip(*statements)
        statements = [("; ".join(sql), list(chain.from_iterable(parameters)))]
    with connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(*statement)


def places(values):
    return ", ".join(["%s"] * len(values))
