"""The keys by which names that look alike are found, step 2 of 3: fill the columns.

Each batch is committed separately. Rows whose key is empty have not been filled yet, so
an interrupted migration continues where it stopped.
"""

import re
import unicodedata
from pathlib import Path

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction
REPORT_EVERY = 200 * BATCH  # rows
KEY_LENGTH = 255
TABLE = Path(__file__).parents[1] / "data" / "look_alikes.txt"

# Characters that `orgadmin.models.text.remove_invisible` removes from names
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u2060-\u2064\u3164\ufeff\uffa0]"
)


def make_key(text, table):
    """Return the key of a name.

    This is a copy of `orgadmin.models.look_alikes.make_key`, because a migration must
    not change when the application changes. It keeps joiners and variation selectors,
    which names rarely contain. `manage.py doctor --fix` corrects such keys.
    """
    text = " ".join(INVISIBLE.sub("", text).split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKD", folded).translate(table)[:KEY_LENGTH]


def read_table():
    """Return {code point: what to write instead}."""
    table = {}
    for line in TABLE.read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            replacement, _separator, characters = line.partition(":")
            text = "".join(chr(int(code, 16)) for code in replacement.split())
            for code in characters.split():
                table[int(code, 16)] = text
    return table


def fill(apps, schema_editor):
    table = read_table()
    fill_model(apps, schema_editor, table, "Organization", "name", "name_key")
    fill_model(apps, schema_editor, table, "User", "username", "username_key")


def fill_model(apps, schema_editor, table, model_name, source, column):
    model = apps.get_model("orgadmin", model_name)
    rows = model._base_manager.using(schema_editor.connection.alias)
    unfilled = rows.filter(**{column: ""}).order_by("pk").values_list("pk", source)
    last_pk = 0
    filled = 0
    while batch := commit(schema_editor, fill_batch, unfilled, last_pk, table, column):
        last_pk = batch[-1][0]
        filled += len(batch)
        if filled % REPORT_EVERY == 0:
            print(f" {filled:,} ...", end="", flush=True)


def fill_batch(unfilled, last_pk, table, column):
    """Fill a batch of rows after the primary key `last_pk`, and return the rows."""
    rows = unfilled.filter(pk__gt=last_pk).select_for_update(no_key=True)
    batch = list(rows[:BATCH])
    keys = [(make_key(text, table), pk) for pk, text in batch]
    with connections[unfilled.db].cursor() as cursor:
        # One prepared statement for all rows, because bulk_update() would build a large
        # CASE expression.
        cursor.executemany(
            f"UPDATE {unfilled.model._meta.db_table} SET {column} = %s WHERE id = %s",
            keys,
        )
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0030_look_alike_keys")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
