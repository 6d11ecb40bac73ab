"""The reviewer group, step 1 of 3: add the column, which can be NULL for now."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0004_require_organization_admin")]

    operations = [
        migrations.AddField(
            "organization",
            "reviewer",
            models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="reviewers_of",
                to="auth.group",
                verbose_name="reviewer group",
            ),
        )
    ]
