"""The object permissions that an organization's own groups hold: exactly those of the role table."""

from itertools import chain

from django.contrib.auth import get_permission_codename
from django.contrib.contenttypes.models import ContentType
from django.db import connections

from .roles import ROLES


def grant_permissions(model, organizations, *, using, also=()):
    """Grant each role's permissions to the groups of new organizations: one statement. `also` are further ones, (SQL,
    parameters), that PostgreSQL takes in one go with it. The ids are kept with Django's own record of the model's
    content type, which it forgets when it migrates.
    Raises RuntimeError where the permissions themselves do not exist, as in a database that was never migrated."""
    kind = ContentType.objects.db_manager(using).get_for_model(model)
    granted = [(get_permission_codename(act, model._meta), role.attname) for role in ROLES for act in role.actions]
    ids = getattr(kind, "permission_ids", None) or dict(kind.permission_set.using(using).values_list("codename", "pk"))
    if missing := {codename for codename, _ in granted} - ids.keys():
        raise RuntimeError(f"There are no permissions {missing}. Run 'manage.py migrate', which creates them.")
    kind.permission_ids = ids
    table = model._meta.get_field("group_grants").related_model._meta.db_table
    rows = [f"({ids[name]}, {int(getattr(row, key))}, {int(row.pk)})" for row in organizations for name, key in granted]
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
