"""The columns of lists, step 4 of 4: add the indexes.

On PostgreSQL, they are built without blocking reads or writes. If the migration is
interrupted, PostgreSQL leaves an invalid index. Running the migration again replaces
that index.
"""

from django.db import migrations, models

from orgadmin.operations import create_index, drop_index

INCOMPLETE = "website = '' OR email = '' OR phone = '' OR address = '' OR tax_id = ''"

# {name of the index: what it covers}
INDEXES = {
    "organization_sort_name": "orgadmin_organization (sort_name, id)",
    "organization_created": "orgadmin_organization (created_at, id)",
    "organization_changed": "orgadmin_organization (changed_at, id)",
    "organization_no_admin": """
        orgadmin_organization (sort_name, id) WHERE active_admins = 0
    """,
    "organization_one_admin": """
        orgadmin_organization (sort_name, id) WHERE active_admins = 1
    """,
    "organization_incomplete": f"""
        orgadmin_organization (sort_name, id) WHERE ({INCOMPLETE})
    """,
    "contact_sort_name": "orgadmin_contact (sort_name, id)",
    "invitation_sent": "orgadmin_invitation (sent_at, organization_id)",
    "user_inactive": "orgadmin_user (username) WHERE NOT is_active",
    "user_superuser": "orgadmin_user (username) WHERE is_superuser",
    "user_staff": "orgadmin_user (username) WHERE is_staff AND NOT is_superuser",
    "user_never_signed_in": "orgadmin_user (username) WHERE last_login IS NULL",
}


def create(apps, schema_editor):
    for name, definition in INDEXES.items():
        create_index(schema_editor, name, definition)


def drop(apps, schema_editor):
    for name in INDEXES:
        drop_index(schema_editor, name)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0058_fill_list_columns")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["sort_name", "id"], name="organization_sort_name"
                    ),
                ),
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["created_at", "id"], name="organization_created"
                    ),
                ),
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["changed_at", "id"], name="organization_changed"
                    ),
                ),
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["sort_name", "id"],
                        name="organization_no_admin",
                        condition=models.Q(active_admins=0),
                    ),
                ),
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["sort_name", "id"],
                        name="organization_one_admin",
                        condition=models.Q(active_admins=1),
                    ),
                ),
                migrations.AddIndex(
                    "organization",
                    models.Index(
                        fields=["sort_name", "id"],
                        name="organization_incomplete",
                        condition=models.Q(
                            ("website", ""),
                            ("email", ""),
                            ("phone", ""),
                            ("address", ""),
                            ("tax_id", ""),
                            _connector="OR",
                        ),
                    ),
                ),
                migrations.AddIndex(
                    "contact",
                    models.Index(fields=["sort_name", "id"], name="contact_sort_name"),
                ),
                migrations.AddIndex(
                    "invitation",
                    models.Index(
                        fields=["sent_at", "organization"], name="invitation_sent"
                    ),
                ),
                migrations.AddIndex(
                    "user",
                    models.Index(
                        fields=["username"],
                        name="user_inactive",
                        condition=models.Q(is_active=False),
                    ),
                ),
                migrations.AddIndex(
                    "user",
                    models.Index(
                        fields=["username"],
                        name="user_superuser",
                        condition=models.Q(is_superuser=True),
                    ),
                ),
                migrations.AddIndex(
                    "user",
                    models.Index(
                        fields=["username"],
                        name="user_staff",
                        condition=models.Q(is_staff=True, is_superuser=False),
                    ),
                ),
                migrations.AddIndex(
                    "user",
                    models.Index(
                        fields=["username"],
                        name="user_never_signed_in",
                        condition=models.Q(last_login=None),
                    ),
                ),
            ],
        ),
        migrations.AlterModelOptions(
            name="contact",
            options={
                "ordering": ["sort_name", "pk"],
                "verbose_name": "contact",
                "verbose_name_plural": "contacts",
            },
        ),
        migrations.AlterModelOptions(
            name="organization",
            options={
                "base_manager_name": "objects",
                "ordering": ["sort_name", "pk"],
                "permissions": [
                    (
                        "view_confidential_organization",
                        "Can view confidential fields of organization",
                    ),
                    (
                        "manage_members_organization",
                        "Can manage members of organization",
                    ),
                ],
                "verbose_name": "organization",
                "verbose_name_plural": "organizations",
            },
        ),
    ]
