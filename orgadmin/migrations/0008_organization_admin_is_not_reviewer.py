"""Add a constraint: an organization's admin and reviewer groups must differ."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0007_require_organization_reviewer")]

    operations = [
        migrations.AddConstraint(
            "organization",
            models.CheckConstraint(
                condition=models.Q(("admin", models.F("reviewer")), _negated=True),
                name="organization_admin_is_not_reviewer",
            ),
        )
    ]
