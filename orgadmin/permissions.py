"""The object permissions that an organization's own groups hold: exactly those of the role table."""

from itertools import chain

from django.contrib.auth import get_permission_codename
from django.db import connections

from .roles import ROLES


def grant_permissions(model, organizations, *, using, also=()):
    """Grant each role's permissions to the groups of new organizations: one statement. `also` are further ones, (SQL,
    parameters), that PostgreSQL takes in one go with it.
    Raises RuntimeError where the permissions themselves do not exist, as in a database that was never migrated."""
    opts, grants = model._meta, model._meta.get_field("group_grants").related_model
    granted = [(get_permission_codename(action, opts), role.attname) for role in ROLES for action in role.actions]
    rows = [f"('{name}', {int(getattr(row, key))}, {int(row.pk)})" for row in organizations for name, key in granted]
    sql = (
        f"INSERT INTO {grants._meta.db_table} (permission_id, group_id, content_object_id)"
        f" SELECT p.id, v.column2, v.column3 FROM (VALUES {', '.join(rows)}) v"
        " JOIN auth_permission p ON p.codename = v.column1 WHERE p.content_type_id ="
        " (SELECT id FROM django_content_type WHERE app_label = %s AND model = %s)"
    )
    count, expected = execute([(sql, [opts.app_label, opts.model_name]), *also], using=using), len(rows)
    if count != expected:
        text = f"{count} of {expected} permissions could be granted. Run 'manage.py migrate', which creates the others."
        raise RuntimeError(text)


def execute(statements, *, using):
    """Execute each (SQL, parameters), on PostgreSQL in one go, else the first last; return its count of rows."""
    if connections[using].vendor == "postgresql":
        sql, parameters = zip(*statements)
        statements = [("; ".join(sql), list(chain.from_iterable(parameters)))]
    with connections[using].cursor() as cursor:
        for statement in reversed(statements):
            cursor.execute(*statement)
        return cursor.rowcount


def places(values):
    return ", ".join(["%s"] * len(values))
