"""The admin group, step 3 of 3: NOT NULL."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0003_create_admin_groups")]

    operations = [
        migrations.AlterField(
            "organization",
            "admin",
            models.OneToOneField(
                blank=True,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="administrators_of",
                to="auth.group",
                verbose_name="admin group",
            ),
        )
    ]
