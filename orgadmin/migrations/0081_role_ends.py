"""When people's roles end, step 1 of 4: add what lists filter by.

- `RoleHolder` says of each person until when they are admin, and until when reviewer,
  of an organization.
- `admins_end_at` of an organization is when it loses its last active admin.

The previous release knows neither. It can still write all rows.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def add_index(name, field, **condition):
    index = models.Index(fields=[field], name=name, condition=models.Q(**condition))
    return migrations.AddIndex("roleholder", index)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0080_later_decisions_are_evidence")]

    operations = [
        migrations.CreateModel(
            name="RoleHolder",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("admin_until", models.DateTimeField(null=True)),
                ("reviewer_until", models.DateTimeField(null=True)),
                ("may_be_inactive", models.BooleanField()),
            ],
            options={"default_permissions": ()},
        ),
        add_index("holder_admin", "admin_until", admin_until__isnull=False),
        add_index("holder_reviewer", "reviewer_until", reviewer_until__isnull=False),
        add_index("holder_inactive", "user", may_be_inactive=True),
        migrations.AddField(
            model_name="organization",
            name="admins_end_at",
            field=models.DateTimeField(
                editable=False, null=True, verbose_name="end of all admins"
            ),
        ),
    ]
