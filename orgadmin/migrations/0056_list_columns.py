"""The columns of lists, step 1 of 4: add them.

The database has defaults for them. So during the upgrade, the previous release can
still insert rows, although it does not know the columns.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

from orgadmin.operations import AddSortColumn


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0055_company_session_indexes")]

    operations = [
        AddSortColumn(
            model_name="contact",
            name="sort_name",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=255
            ),
        ),
        AddSortColumn(
            model_name="organization",
            name="sort_name",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=255
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="created_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
                verbose_name="created",
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="changed_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
                verbose_name="last change",
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="active_admins",
            field=models.IntegerField(
                db_default=0, editable=False, verbose_name="active admins"
            ),
        ),
    ]
