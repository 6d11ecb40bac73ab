"""The admin group, step 3 of 3: make the column NOT NULL."""

import django.db.models.deletion
from django.db import migrations, models

from orgadmin.operations import RequireRelation


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0003_create_admin_groups")]

    operations = [
        RequireRelation(
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
            nullable="0002_organization_admin",
        )
    ]
