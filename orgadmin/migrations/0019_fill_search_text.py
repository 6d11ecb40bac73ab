"""What a search compares, step 2 of 3: data, and nothing else. Committed batch by batch; interrupted, it is run again,
and goes on where it was, since a text that is empty was not computed yet."""

from django.db import connections, migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction


def fill(apps, schema_editor):
    Organization = apps.get_model("orgadmin", "Organization")
    alias, field = (
        schema_editor.connection.alias,
        Organization._meta.get_field("search_text"),
    )
    rows = Organization._base_manager.using(alias).filter(search_text="").order_by("pk")
    last, done = 0, 0

    def fill_batch():
        batch = list(rows.filter(pk__gt=last).select_for_update(no_key=True)[:BATCH])
        texts = [
            (field.pre_save(organization, False), organization.pk)
            for organization in batch
        ]
        with connections[alias].cursor() as cursor:
            cursor.executemany(
                "UPDATE orgadmin_organization SET search_text = %s WHERE id = %s", texts
            )
        return batch

    while batch := commit(schema_editor, fill_batch):
        last, done = batch[-1].pk, done + len(batch)
        if done % (200 * BATCH) == 0:
            print(f" {done:,} ...", end="", flush=True)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("orgadmin", "0018_organization_search_text")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
