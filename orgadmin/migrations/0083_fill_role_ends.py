"""When people's roles end, step 3 of 4: fill the columns.

Each batch is one transaction. Filling a batch again changes nothing, so an interrupted
migration can be run again. Triggers fill the rows that are added later.
"""

from django.db import connections, migrations
from django.db.models import Max

from orgadmin.operations import commit
from orgadmin.operations.role_holders import (
    END_OF_LAST_ADMIN,
    NEVER,
    build_latest_ends,
)

# The IDs of a batch are in a range of this length.
BATCH = 5_000
REPORT_EVERY = 20 * BATCH

FILL_ORGANIZATIONS = """
    UPDATE orgadmin_organization
    SET admins_end_at = ({end})
    WHERE id > %s AND id <= %s
        AND EXISTS (
            SELECT 1
            FROM orgadmin_user_groups membership
            WHERE membership.group_id = orgadmin_organization.admin_id
                AND membership.ends_at IS NOT NULL
        )
"""
FILL_HOLDERS = {
    "postgresql": """
        SELECT orgadmin_update_role_holders(
            ARRAY(SELECT id FROM orgadmin_user WHERE id > %s AND id <= %s), true
        )
    """,
    "sqlite": """
        INSERT INTO orgadmin_roleholder
            (user_id, admin_until, reviewer_until, may_be_inactive)
        SELECT id, admin_until, reviewer_until, NOT is_active
        FROM (
            SELECT member.id, member.is_active, {latest_ends}
            FROM orgadmin_user member
            WHERE member.id > %s AND member.id <= %s
        ) found
        WHERE admin_until IS NOT NULL OR reviewer_until IS NOT NULL
        ON CONFLICT (user_id) DO NOTHING
    """,
}


def fill(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    end = END_OF_LAST_ADMIN.format(never=NEVER[vendor])
    fill_model(apps, schema_editor, "Organization", FILL_ORGANIZATIONS.format(end=end))
    latest_ends = build_latest_ends(["admin", "reviewer"], vendor)
    fill_holders = FILL_HOLDERS[vendor].format(latest_ends=latest_ends)
    fill_model(apps, schema_editor, "User", fill_holders)


def fill_model(apps, schema_editor, model_name, statement):
    model = apps.get_model("orgadmin", model_name)
    rows = model._base_manager.using(schema_editor.connection.alias)
    highest = rows.aggregate(highest=Max("pk"))["highest"] or 0
    for after_pk in range(0, highest, BATCH):
        commit(schema_editor, fill_batch, rows, after_pk, statement)
        if after_pk and after_pk % REPORT_EVERY == 0:
            print(f" {after_pk:,} ...", end="", flush=True)


def fill_batch(rows, after_pk, statement):
    """Fill the rows whose IDs are in the range after `after_pk`.

    Locks the rows first. The statement then sees what other transactions have
    committed.
    """
    batch = rows.filter(pk__gt=after_pk, pk__lte=after_pk + BATCH).order_by("pk")
    list(batch.select_for_update(no_key=True).values_list("pk"))
    with connections[rows.db].cursor() as cursor:
        cursor.execute(statement, [after_pk, after_pk + BATCH])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0082_role_end_triggers")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
