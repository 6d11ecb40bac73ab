"""The permissions of the groups of the organizations that exist."""

from django.db import migrations, transaction

ROLES = {
    "admin": [
        ("view_organization", "Can view organization"),
        ("change_organization", "Can change organization"),
        ("view_confidential_organization", "Can view confidential fields of organization"),
        ("manage_members_organization", "Can manage members of organization"),
    ],
    "reviewer": [("view_organization", "Can view organization")],
}
BATCH = 2_000  # organizations in one transaction


def grant(apps, schema_editor):
    alias = schema_editor.connection.alias
    organizations = apps.get_model("orgadmin", "Organization").objects.using(alias).order_by("pk")
    grants = apps.get_model("orgadmin", "OrganizationGroupObjectPermission").objects.using(alias)
    if not organizations.exists():
        return
    permissions = _get_permissions(apps, alias)
    rows = organizations.values("pk", *ROLES)
    while batch := list(rows[:BATCH]):
        with transaction.atomic(using=alias):
            grants.bulk_create(
                [
                    grants.model(permission_id=permissions[codename], group_id=row[role], content_object_id=row["pk"])
                    for row in batch
                    for role, held in ROLES.items()
                    for codename, _ in held
                ],
                ignore_conflicts=True,  # run again after an interruption
            )
        rows = organizations.filter(pk__gt=batch[-1]["pk"]).values("pk", *ROLES)


def revoke(apps, schema_editor):
    alias = schema_editor.connection.alias
    organizations = apps.get_model("orgadmin", "Organization").objects.using(alias).order_by("pk")
    grants = apps.get_model("orgadmin", "OrganizationGroupObjectPermission").objects.using(alias)
    rows = organizations.values_list("pk", *ROLES)
    while batch := list(rows[:BATCH]):
        with transaction.atomic(using=alias):
            for number, held in enumerate(ROLES.values(), 1):
                grants.filter(
                    group__in=[row[number] for row in batch],
                    content_object__in=[row[0] for row in batch],
                    permission__codename__in=[codename for codename, _ in held],
                ).delete()
        rows = organizations.filter(pk__gt=batch[-1][0]).values_list("pk", *ROLES)


def _get_permissions(apps, alias):
    """Return {codename: id}. Django itself creates permissions only when all migrations are done."""
    types = apps.get_model("contenttypes", "ContentType").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    organization, _ = types.get_or_create(app_label="orgadmin", model="organization")
    return {
        codename: permissions.get_or_create(content_type=organization, codename=codename, defaults={"name": name})[0].pk
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
