"""Name the authors of existing records of the history as plain values.

Each batch is committed separately. An interrupted migration skips records that have an
author already. Records that the previous release writes later get their author when the
account is deleted.
"""

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 5_000  # records in one transaction
REPORT_EVERY = 20 * BATCH  # records

FILL = """
    UPDATE orgadmin_historicalorganization
    SET history_user_key = history_user_id,
        history_user_name = (
            SELECT username
            FROM orgadmin_user
            WHERE orgadmin_user.id = history_user_id
        )
    WHERE history_id > %s
        AND history_id <= %s
        AND history_user_id IS NOT NULL
        AND history_user_key IS NULL
"""


def fill(apps, schema_editor):
    records = apps.get_model("orgadmin", "HistoricalOrganization")
    records = records.objects.using(schema_editor.connection.alias)
    last = records.order_by("history_id").values_list("history_id", flat=True).last()
    for start in range(0, last or 0, BATCH):
        commit(schema_editor, fill_batch, records.db, start)
        if start and start % REPORT_EVERY == 0:
            print(f" {start:,} ...", end="", flush=True)


def fill_batch(using, start):
    """Fill the records whose keys follow `start`."""
    with connections[using].cursor() as cursor:
        cursor.execute(FILL, [start, start + BATCH])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0036_keep_authors")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
