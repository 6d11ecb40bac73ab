"""Archived organizations, step 2 of 2: have the indexes of lists leave them out.

Each index of the list of organizations is replaced by a partial one. On PostgreSQL,
they are built without blocking reads or writes, and the old ones are dropped once all
new ones are there. If the migration is interrupted, PostgreSQL leaves an invalid index.
Running the migration again replaces that index.

From then on, the previous release, which also lists archived organizations, sorts its
lists without an index.
"""

from django.db import migrations, models

from orgadmin.operations import create_index, drop_index

LIST = "orgadmin_organization (sort_name, id)"
INCOMPLETE = "website = '' OR email = '' OR phone = '' OR address = '' OR tax_id = ''"

# {name of the index: what it covers}
INDEXES = {
    "unarchived_sort_name": f"{LIST} WHERE archived_at IS NULL",
    "unarchived_created": """
        orgadmin_organization (created_at, id) WHERE archived_at IS NULL
    """,
    "unarchived_changed": """
        orgadmin_organization (changed_at, id) WHERE archived_at IS NULL
    """,
    "unarchived_no_admin": f"""
        {LIST} WHERE archived_at IS NULL AND active_admins = 0
    """,
    "unarchived_one_admin": f"""
        {LIST} WHERE archived_at IS NULL AND active_admins = 1
    """,
    "unarchived_incomplete": f"""
        {LIST} WHERE archived_at IS NULL AND ({INCOMPLETE})
    """,
    "organization_archived": """
        orgadmin_organization (archived_at, id) WHERE archived_at IS NOT NULL
    """,
    "organization_trashed": """
        orgadmin_organization (trashed_at) WHERE trashed_at IS NOT NULL
    """,
}
PREVIOUS_INDEXES = {
    "organization_sort_name": LIST,
    "organization_created": "orgadmin_organization (created_at, id)",
    "organization_changed": "orgadmin_organization (changed_at, id)",
    "organization_no_admin": f"{LIST} WHERE active_admins = 0",
    "organization_one_admin": f"{LIST} WHERE active_admins = 1",
    "organization_incomplete": f"{LIST} WHERE ({INCOMPLETE})",
}


def replace(schema_editor, old, new):
    for name, definition in new.items():
        create_index(schema_editor, name, definition)
    for name in old:
        drop_index(schema_editor, name)


def forwards(apps, schema_editor):
    replace(schema_editor, PREVIOUS_INDEXES, INDEXES)


def backwards(apps, schema_editor):
    replace(schema_editor, INDEXES, PREVIOUS_INDEXES)


def add_index(name, fields, **condition):
    """Return the operation that adds a partial index to Django's state."""
    index = models.Index(fields=fields, name=name, condition=models.Q(**condition))
    return migrations.AddIndex("organization", index)


def add_list_index(name, condition):
    index = models.Index(
        fields=["sort_name", "id"],
        name=name,
        condition=models.Q(archived_at=None) & condition,
    )
    return migrations.AddIndex("organization", index)


IS_INCOMPLETE = models.Q(
    ("website", ""),
    ("email", ""),
    ("phone", ""),
    ("address", ""),
    ("tax_id", ""),
    _connector="OR",
)


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0071_archive_columns")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                *[
                    migrations.RemoveIndex("organization", name)
                    for name in PREVIOUS_INDEXES
                ],
                add_list_index("unarchived_sort_name", models.Q()),
                add_index("unarchived_created", ["created_at", "id"], archived_at=None),
                add_index("unarchived_changed", ["changed_at", "id"], archived_at=None),
                add_list_index("unarchived_no_admin", models.Q(active_admins=0)),
                add_list_index("unarchived_one_admin", models.Q(active_admins=1)),
                add_list_index("unarchived_incomplete", IS_INCOMPLETE),
                add_index(
                    "organization_archived",
                    ["archived_at", "id"],
                    archived_at__isnull=False,
                ),
                add_index(
                    "organization_trashed", ["trashed_at"], trashed_at__isnull=False
                ),
            ],
        ),
    ]
