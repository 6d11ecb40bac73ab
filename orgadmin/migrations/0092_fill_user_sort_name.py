"""The names that people are sorted by, step 2 of 3: fill the column.

Each batch is committed separately. Rows without a name for sorting have not been filled
yet, so an interrupted migration continues where it stopped.
"""

import unicodedata

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction
REPORT_EVERY = 200 * BATCH  # rows
SORT_LENGTH = 255  # characters

UPDATE = "UPDATE orgadmin_user SET sort_name = %s WHERE id = %s"


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


def make_sort_name(username, first_name, last_name):
    full_name = f"{first_name} {last_name}".strip()
    return normalize(full_name or username)[:SORT_LENGTH]


def fill(apps, schema_editor):
    users = apps.get_model("orgadmin", "User")._base_manager
    users = users.using(schema_editor.connection.alias)
    unfilled = users.filter(sort_name="").order_by("pk")
    unfilled = unfilled.values_list("pk", "username", "first_name", "last_name")
    last_pk = 0
    filled = 0
    while batch := commit(schema_editor, fill_batch, unfilled, last_pk):
        last_pk = batch[-1][0]
        filled += len(batch)
        if filled % REPORT_EVERY == 0:
            print(f" {filled:,} ...", end="", flush=True)


def fill_batch(unfilled, last_pk):
    """Fill a batch of rows after the primary key `last_pk`, and return the rows."""
    rows = unfilled.filter(pk__gt=last_pk).select_for_update(no_key=True)
    batch = list(rows[:BATCH])
    texts = [(make_sort_name(*names), pk) for pk, *names in batch]
    with connections[unfilled.db].cursor() as cursor:
        # One prepared statement for all rows, because bulk_update() would build a large
        # CASE expression.
        cursor.executemany(UPDATE, texts)
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0091_user_sort_name")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
