"""The reviewer group, step 3 of 3: make the column NOT NULL."""

import django.db.models.deletion
from django.db import migrations, models

from orgadmin.operations import RequireRelation


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0006_create_reviewer_groups")]

    operations = [
        RequireRelation(
            "organization",
            "reviewer",
            models.OneToOneField(
                blank=True,
                editable=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="reviewers_of",
                to="auth.group",
                verbose_name="reviewer group",
            ),
            nullable="0005_organization_reviewer",
        )
    ]
