"""The columns of lists, step 3 of 4: fill them.

Each batch is committed separately. Rows without a name to sort by have not been filled
yet, so an interrupted migration continues where it stopped.

`created_at` and `changed_at` come from the first and the last record of the history.
Rows without a history keep the time of the upgrade.
"""

import unicodedata

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction
REPORT_EVERY = 200 * BATCH  # rows
SORT_LENGTH = 255

FILL_ORGANIZATION = """
    UPDATE orgadmin_organization
    SET sort_name = %s,
        created_at = COALESCE(
            (
                SELECT MIN(history_date)
                FROM orgadmin_historicalorganization record
                WHERE record.id = orgadmin_organization.id
            ),
            created_at
        ),
        changed_at = COALESCE(
            (
                SELECT MAX(history_date)
                FROM orgadmin_historicalorganization record
                WHERE record.id = orgadmin_organization.id
            ),
            changed_at
        ),
        active_admins = (
            SELECT COUNT(*)
            FROM orgadmin_user_groups membership
            JOIN orgadmin_user member ON member.id = membership.user_id
            WHERE membership.group_id = orgadmin_organization.admin_id
                AND member.is_active
        )
    WHERE id = %s
"""
FILL_CONTACT = "UPDATE orgadmin_contact SET sort_name = %s WHERE id = %s"


def normalize(text):
    """Return the text without case, accents and widths.

    This is a copy of `orgadmin.models.fields.normalize`, because a migration must not
    change when the application changes.
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character for character in text if not unicodedata.combining(character)
    )


def fill(apps, schema_editor):
    fill_model(apps, schema_editor, "Organization", FILL_ORGANIZATION)
    fill_model(apps, schema_editor, "Contact", FILL_CONTACT)


def fill_model(apps, schema_editor, model_name, statement):
    model = apps.get_model("orgadmin", model_name)
    rows = model._base_manager.using(schema_editor.connection.alias)
    unfilled = rows.filter(sort_name="").order_by("pk").values_list("pk", "name")
    last_pk = 0
    filled = 0
    while batch := commit(schema_editor, fill_batch, unfilled, last_pk, statement):
        last_pk = batch[-1][0]
        filled += len(batch)
        if filled % REPORT_EVERY == 0:
            print(f" {filled:,} ...", end="", flush=True)


def fill_batch(unfilled, last_pk, statement):
    """Fill a batch of rows after the primary key `last_pk`, and return the rows."""
    rows = unfilled.filter(pk__gt=last_pk).select_for_update(no_key=True)
    batch = list(rows[:BATCH])
    texts = [(normalize(name)[:SORT_LENGTH], pk) for pk, name in batch]
    with connections[unfilled.db].cursor() as cursor:
        # One prepared statement for all rows, because bulk_update() would build a large
        # CASE expression.
        cursor.executemany(statement, texts)
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0057_list_triggers")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
