"""The search text, step 2 of 3: data, and nothing else.

Commits batch by batch. An empty text has not been computed yet, so a migration that was
interrupted continues where it stopped.
"""

import unicodedata

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction
REPORT_EVERY = 200 * BATCH  # rows


def normalize(text):
    """Return the text without case, accents and widths.

    A copy of `orgadmin.models.fields.normalize` as it was when this migration was
    written: a migration must not change when the application does.
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


def fill_batch(unfilled, after):
    """Fill the next rows after a primary key, and return them."""
    rows = unfilled.filter(pk__gt=after).select_for_update(no_key=True)
    batch = list(rows[:BATCH])
    texts = []
    for row in batch:
        source = f"{row.name}\n{row.reference or ''}\n{row.address}"
        texts.append((normalize(source), row.pk))
    with connections[unfilled.db].cursor() as cursor:
        # One prepared statement for all rows: bulk_update() would build a CASE of them.
        cursor.executemany(
            "UPDATE orgadmin_organization SET search_text = %s WHERE id = %s", texts
        )
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0018_organization_search_text")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
