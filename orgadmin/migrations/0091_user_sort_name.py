"""The names that people are sorted by, step 1 of 3: add the column.

The database has a default for it. So during the upgrade, the previous release can still
insert rows, although it does not know the column.
"""

from django.db import migrations, models

from orgadmin.operations import AddSortColumn


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0090_closed_reviews_are_evidence")]

    operations = [
        AddSortColumn(
            model_name="user",
            name="sort_name",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=255
            ),
        ),
    ]
