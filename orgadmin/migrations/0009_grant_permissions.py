"""The permissions of the groups of the organizations that exist."""

from django.db import migrations

from orgadmin.operations import commit

ROLES = {
    "admin": [
        ("view_organization", "Can view organization"),
        ("change_organization", "Can change organization"),
        (
            "view_confidential_organization",
            "Can view confidential fields of organization",
        ),
        ("manage_members_organization", "Can manage members of organization"),
    ],
    "reviewer": [("view_organization", "Can view organization")],
}
BATCH = 2_000  # organizations in one transaction


def grant(apps, schema_editor):
    table, grants, batches = _prepare(apps, schema_editor)
    if not table:
        return
    permissions = _get_permissions(apps, schema_editor.connection.alias)
    selects = " UNION ALL ".join(
        f"SELECT {permissions[codename]}, {role}_id, id FROM {table} WHERE id BETWEEN %s AND %s"
        for role, held in ROLES.items()
        for codename, _ in held
    )
    for ids in batches:
        # Run again after an interruption, it leaves what is there.
        _execute(
            schema_editor,
            f"INSERT INTO {grants} (permission_id, group_id, content_object_id) {selects} ON CONFLICT DO NOTHING",
            ids * sum(map(len, ROLES.values())),
        )


def revoke(apps, schema_editor):
    table, grants, batches = _prepare(apps, schema_editor)
    codenames = {
        role: ", ".join(f"'{codename}'" for codename, _ in held)
        for role, held in ROLES.items()
    }
    conditions = " OR ".join(
        f"(group_id IN (SELECT {role}_id FROM {table} WHERE id = content_object_id) AND permission_id IN"
        f" (SELECT id FROM auth_permission WHERE codename IN ({held})))"
        for role, held in codenames.items()
    )
    for ids in batches:
        sql = f"DELETE FROM {grants} WHERE content_object_id BETWEEN %s AND %s AND ({conditions})"
        _execute(schema_editor, sql, ids)


def _prepare(apps, schema_editor):
    """Return the tables of organizations, None where there are none, and of grants, and (first id, last id) of each
    batch."""
    Organization, alias = (
        apps.get_model("orgadmin", "Organization"),
        schema_editor.connection.alias,
    )
    grants = apps.get_model(
        "orgadmin", "OrganizationGroupObjectPermission"
    )._meta.db_table
    rows = Organization._base_manager.using(alias).order_by("pk")

    def find_batches():
        todo = rows.values_list("pk", flat=True)
        while ids := list(todo[:BATCH]):
            yield ids[0], ids[-1]
            todo = rows.filter(pk__gt=ids[-1]).values_list("pk", flat=True)

    return rows.exists() and Organization._meta.db_table, grants, find_batches()


def _execute(schema_editor, sql, parameters):
    def execute():
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    commit(schema_editor, execute)


def _get_permissions(apps, alias):
    """Return {codename: id}. Django itself creates permissions only when all migrations are done."""
    types = apps.get_model("contenttypes", "ContentType").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    organization, _ = types.get_or_create(app_label="orgadmin", model="organization")
    return {
        codename: permissions.get_or_create(
            content_type=organization, codename=codename, defaults={"name": name}
        )[0].pk
        for held in ROLES.values()
        for codename, name in held
    }


class Migration(migrations.Migration):
    atomic = False  # commits batch by batch; interrupted, it is run again

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("orgadmin", "0008_organization_admin_is_not_reviewer"),
    ]

    operations = [migrations.RunPython(grant, revoke)]
