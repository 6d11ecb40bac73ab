"""Grant the permissions of the roles to the groups of existing organizations."""

from django.db import migrations

from orgadmin.operations import commit

# {role: {codename: name}}, as they were when this migration was written
ROLES = {
    "admin": {
        "view_organization": "Can view organization",
        "change_organization": "Can change organization",
        "view_confidential_organization": (
            "Can view confidential fields of organization"
        ),
        "manage_members_organization": "Can manage members of organization",
    },
    "reviewer": {
        "view_organization": "Can view organization",
    },
}
BATCH = 2_000  # organizations in one transaction

# The statements are SQL because the ORM has no INSERT … SELECT, which writes a batch
# without loading it. Parameters: the first and the last ID of the batch.

SELECT_GRANTS = """
    SELECT {permission_id}, {role}_id, id
    FROM orgadmin_organization
    WHERE id BETWEEN %s AND %s
"""

# If the migration was interrupted, some grants may already exist.
INSERT_GRANTS = """
    INSERT INTO orgadmin_organizationgroupobjectpermission
        (permission_id, group_id, content_object_id)
    {selected_grants}
    ON CONFLICT DO NOTHING
"""

DELETE_GRANTS = """
    DELETE FROM orgadmin_organizationgroupobjectpermission
    WHERE content_object_id BETWEEN %s AND %s
        AND (
            (
                group_id IN (
                    SELECT admin_id
                    FROM orgadmin_organization
                    WHERE id = content_object_id
                )
                AND permission_id IN (
                    SELECT id
                    FROM auth_permission
                    WHERE codename IN (
                        'view_organization',
                        'change_organization',
                        'view_confidential_organization',
                        'manage_members_organization'
                    )
                )
            )
            OR (
                group_id IN (
                    SELECT reviewer_id
                    FROM orgadmin_organization
                    WHERE id = content_object_id
                )
                AND permission_id IN (
                    SELECT id
                    FROM auth_permission
                    WHERE codename IN ('view_organization')
                )
            )
        )
"""


def grant(apps, schema_editor):
    organizations = get_organizations(apps, schema_editor)
    if not organizations.exists():
        return
    permission_ids = get_permission_ids(apps, schema_editor)
    selects = []
    for role, permissions in ROLES.items():
        for codename in permissions:
            selects.append(
                SELECT_GRANTS.format(permission_id=permission_ids[codename], role=role)
            )
    statement = INSERT_GRANTS.format(selected_grants="UNION ALL".join(selects))
    for batch in list_batches(organizations):
        commit(schema_editor, execute, schema_editor, statement, batch * len(selects))


def revoke(apps, schema_editor):
    for batch in list_batches(get_organizations(apps, schema_editor)):
        commit(schema_editor, execute, schema_editor, DELETE_GRANTS, batch)


def get_organizations(apps, schema_editor):
    Organization = apps.get_model("orgadmin", "Organization")
    alias = schema_editor.connection.alias
    return Organization._base_manager.using(alias).order_by("pk")


def list_batches(organizations):
    """Yield [first ID, last ID] of each batch, in ascending order."""
    pks = organizations.values_list("pk", flat=True)
    batch = list(pks[:BATCH])
    while batch:
        yield [batch[0], batch[-1]]
        batch = list(pks.filter(pk__gt=batch[-1])[:BATCH])


def execute(schema_editor, statement, parameters):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def get_permission_ids(apps, schema_editor):
    """Return {codename: permission ID}. Create permissions that do not exist.

    Django itself creates permissions only after all migrations have been run.
    """
    alias = schema_editor.connection.alias
    content_types = apps.get_model("contenttypes", "ContentType").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    content_type, _created = content_types.get_or_create(
        app_label="orgadmin", model="organization"
    )
    ids = {}
    for names in ROLES.values():
        for codename, name in names.items():
            permission, _created = permissions.get_or_create(
                content_type=content_type, codename=codename, defaults={"name": name}
            )
            ids[codename] = permission.pk
    return ids


class Migration(migrations.Migration):
    # Each batch is committed separately. An interrupted migration can be run again.
    atomic = False

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("orgadmin", "0008_organization_admin_is_not_reviewer"),
    ]

    operations = [migrations.RunPython(grant, revoke)]
