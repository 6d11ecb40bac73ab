"""The normal forms of usernames and email addresses, step 2 of 3: fill the columns.

Two people whose usernames or addresses differ only in their spelling must be told apart
first, by someone who knows them. If there are any, this says so and changes nothing.

Each batch is committed separately. Rows whose normal form is NULL have not been filled
yet, so an interrupted migration continues where it stopped.
"""

import unicodedata
from collections import defaultdict

import idna
from django.db import IntegrityError, connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction
REPORT_EVERY = 200 * BATCH  # rows
SHOWN = 20  # clashes in the error

UPDATE = "UPDATE orgadmin_user SET username_fold = %s, email_fold = %s WHERE id = %s"

CLASH = """
Nothing was changed. From this release on, upper and lower case make no difference when
people sign in with their username or email address. These people cannot be told apart:

{clashes}

Change all usernames or addresses but one in each line, on the pages of these people in
the previous release. Then run “manage.py migrate” again.
"""


def fold_username(username):
    """Return the normal form of a username.

    These functions are copies of those in `orgadmin.models.addresses`, because a
    migration must not change when the application changes.
    """
    folded = unicodedata.normalize("NFKC", username).casefold()
    return unicodedata.normalize("NFKD", folded)[:255]


def fold_email(email):
    name, at, domain = email.rpartition("@")
    return f"{lower_exactly(name)}{at}{normalize_domain(domain)}"[:512]


def normalize_domain(domain):
    if not domain.isascii():
        try:
            return idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            pass
    return lower_exactly(domain)


def lower_exactly(text):
    lowered = []
    for letter in text:
        lower = letter.lower()
        lowered.append(lower if lower.upper() == letter else letter)
    return "".join(lowered)


def fill(apps, schema_editor):
    users = apps.get_model("orgadmin", "User")._base_manager
    users = users.using(schema_editor.connection.alias)
    refuse_clashes(users)
    unfilled = users.filter(username_fold=None).order_by("pk")
    unfilled = unfilled.values_list("pk", "username", "email")
    last_pk = 0
    filled = 0
    while batch := commit(schema_editor, fill_batch, unfilled, last_pk):
        last_pk = batch[-1][0]
        filled += len(batch)
        if filled % REPORT_EVERY == 0:
            print(f" {filled:,} ...", end="", flush=True)


def refuse_clashes(users):
    """Raise an error that lists the people who cannot be told apart, if there are any.

    Only the number of each normal form is kept in memory for all users.
    """
    lines = []
    for column, make_fold in (("username", fold_username), ("email", fold_email)):
        values = users.exclude(**{column: ""}).values_list(column, flat=True)
        folds = defaultdict(int)
        for value in values.iterator():
            folds[make_fold(value)] += 1
        clashing = {folded for folded, number in folds.items() if number > 1}
        if clashing:
            lines += describe_clashes(values, make_fold, clashing)
    if lines:
        shown = "\n".join(lines[:SHOWN])
        if len(lines) > SHOWN:
            shown += f"\n… and {len(lines) - SHOWN:,} more"
        raise IntegrityError(CLASH.format(clashes=shown))


def describe_clashes(values, make_fold, clashing):
    """Return a line for each of the normal forms, with the names that have it."""
    names = defaultdict(list)
    for value in values.order_by("pk").iterator():
        folded = make_fold(value)
        if folded in clashing:
            # Without codes that could move the cursor of a terminal.
            names[folded].append(repr(value))
    return ["  " + ", ".join(clash) for clash in names.values()]


def fill_batch(unfilled, last_pk):
    """Fill a batch of rows after the primary key `last_pk`, and return the rows."""
    rows = unfilled.filter(pk__gt=last_pk).select_for_update(no_key=True)
    batch = list(rows[:BATCH])
    values = [
        (fold_username(username) or None, fold_email(email) or None, pk)
        for pk, username, email in batch
    ]
    with connections[unfilled.db].cursor() as cursor:
        # One prepared statement for all rows, because bulk_update() would build a large
        # CASE expression.
        cursor.executemany(UPDATE, values)
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0040_normal_forms")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
