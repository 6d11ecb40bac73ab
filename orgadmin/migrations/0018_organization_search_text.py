"""The search text, step 1 of 3: the column.

The database itself has the default, so that the previous release, which does not know
the column, can still insert rows during the upgrade.
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
