"""Keep how many organizations and people there are, and what the doctor has found."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0059_list_indexes")]

    operations = [
        migrations.CreateModel(
            name="DoctorRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("errors", models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name="MonthlyCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("month", models.DateField(unique=True)),
                ("counted_on", models.DateField()),
                ("organizations", models.PositiveIntegerField()),
                ("people", models.PositiveIntegerField()),
            ],
            options={"ordering": ["-month"]},
        ),
    ]
