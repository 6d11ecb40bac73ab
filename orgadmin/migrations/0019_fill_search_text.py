"""The search text, step 2 of 3: fill the column.

Each batch is committed separately. Rows whose text is empty have not been filled yet,
so an interrupted migration continues where it stopped.
"""

import unicodedata

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction
REPORT_EVERY = 200 * BATCH  # rows


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
    Organization = apps.get_model("orgadmin", "Organization")
    alias = schema_editor.connection.alias
    unfilled = Organization._base_manager.using(alias).filter(search_text="")
    unfilled = unfilled.order_by("pk")
    last_pk = 0
    filled = 0
    while batch := commit(schema_editor, fill_batch, unfilled, last_pk):
        last_pk = batch[-1].pk
        filled += len(batch)
        if filled % REPORT_EVERY == 0:
            print(f" {filled:,} ...", end="", flush=True)


def fill_batch(unfilled, last_pk):
    """Fill a batch of rows after the primary key `last_pk`, and return the rows."""
    rows = unfilled.filter(pk__gt=last_pk).select_for_update(no_key=True)
    batch = list(rows[:BATCH])
    texts = []
    for row in batch:
        source = f"{row.name}\n{row.reference or ''}\n{row.address}"
        texts.append((normalize(source), row.pk))
    with connections[unfilled.db].cursor() as cursor:
        # One prepared statement for all rows, because bulk_update() would build a large
        # CASE expression.
        cursor.executemany(
            "UPDATE orgadmin_organization SET search_text = %s WHERE id = %s", texts
        )
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0018_organization_search_text")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
