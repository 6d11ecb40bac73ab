"""The object permissions that an organization's own groups hold: exactly those of the role table."""

from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections

from .roles import ROLES


def grant_permissions(model, ids, *, using):
    """Grant each role's permissions to the groups of the new organizations `ids`: one statement.
    Raises RuntimeError where the permissions themselves do not exist, as in a database that was never migrated."""
    quote = connections[using].ops.quote_name
    tables = {
        "grant": model._meta.get_field("group_grants").related_model,
        "organization": model,
        "permission": Permission,
        "type": ContentType,
    }
    tables = {name: quote(table._meta.db_table) for name, table in tables.items()}
    selects, parameters, expected = [], [], 0
    for role in ROLES:
        codenames = [get_permission_codename(action, model._meta) for action in role.actions]
        selects.append(
            f"SELECT p.id, o.{quote(role.attname)}, o.id"
            f" FROM {tables['organization']} o, {tables['permission']} p, {tables['type']} t"
            f" WHERE o.id IN ({places(ids)}) AND p.codename IN ({places(codenames)})"
            " AND p.content_type_id = t.id AND t.app_label = %s AND t.model = %s"
        )
        parameters += [*ids, *codenames, model._meta.app_label, model._meta.model_name]
        expected += len(ids) * len(codenames)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {tables['grant']} (permission_id, group_id, content_object_id) {' UNION ALL '.join(selects)}",
            parameters,
        )
        if cursor.rowcount != expected:
            raise RuntimeError(
                f"{cursor.rowcount} of {expected} permissions could be granted, as the others do not exist."
                " Run 'manage.py migrate' to create them."
            )


def places(values):
    return ", ".join(["%s"] * len(values))
