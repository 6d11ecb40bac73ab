"""The admin group, step 1 of 3: add the column, which can be NULL for now."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0001_initial")]

    operations = [
        migrations.AddField(
            "organization",
            "admin",
            models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="administrators_of",
                to="auth.group",
                verbose_name="admin group",
            ),
        )
    ]
