"""The search text, step 1 of 3: add the column.

The database has a default for it. So during the upgrade, the previous release can still
insert rows, although it does not know the column.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0017_invitation")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="search_text",
            field=models.TextField(
                blank=True, db_default="", default="", editable=False
            ),
        ),
    ]
