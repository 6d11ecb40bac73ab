"""The names that people are sorted by, step 3 of 3: the indexes of the list of people.

They replace those that sort the people of a filter by username. On PostgreSQL, they are
built without blocking reads or writes. If the migration is interrupted, PostgreSQL
leaves an invalid index. Running the migration again replaces that index.
"""

from django.db import migrations, models

from orgadmin.operations import create_index, drop_index

# {name of the index: the condition of its rows}
CONDITIONS = {
    "user_inactive": "NOT is_active",
    "user_superuser": "is_superuser",
    "user_staff": "is_staff AND NOT is_superuser",
    "user_never_signed_in": "last_login IS NULL",
}
STATE_CONDITIONS = {
    "user_inactive": models.Q(is_active=False),
    "user_superuser": models.Q(is_superuser=True),
    "user_staff": models.Q(is_staff=True, is_superuser=False),
    "user_never_signed_in": models.Q(last_login=None),
}


def forwards(apps, schema_editor):
    create_index(schema_editor, "user_sort_name", "orgadmin_user (sort_name, id)")
    for name, condition in CONDITIONS.items():
        definition = f"orgadmin_user (sort_name, id) WHERE {condition}"
        create_index(schema_editor, f"{name}_by_name", definition)
        drop_index(schema_editor, name)


def backwards(apps, schema_editor):
    for name, condition in CONDITIONS.items():
        definition = f"orgadmin_user (username) WHERE {condition}"
        create_index(schema_editor, name, definition)
        drop_index(schema_editor, f"{name}_by_name")
    drop_index(schema_editor, "user_sort_name")


def list_changes_of_state():
    """Return the operations that tell Django about the indexes."""
    fields = ["sort_name", "id"]
    index = models.Index(fields=fields, name="user_sort_name")
    changes = [migrations.AddIndex("user", index)]
    for name, condition in STATE_CONDITIONS.items():
        index = models.Index(fields=fields, name=f"{name}_by_name", condition=condition)
        changes.append(migrations.AddIndex("user", index))
        changes.append(migrations.RemoveIndex("user", name))
    return changes


class Migration(migrations.Migration):
    # PostgreSQL cannot build an index concurrently in a transaction.
    atomic = False

    dependencies = [("orgadmin", "0092_fill_user_sort_name")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=list_changes_of_state(),
        ),
    ]
