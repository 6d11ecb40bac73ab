"""Create the table for the membership log."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0013_begin_organization_history")]

    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={
                "base_manager_name": "objects",
                "verbose_name": "user",
                "verbose_name_plural": "users",
            },
        ),
        migrations.AlterModelManagers(name="user", managers=[]),
        migrations.CreateModel(
            name="MembershipEvent",
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
                (
                    "at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="when"
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("joined", "joined"),
                            ("found", "found"),
                            ("left", "left"),
                            ("invited", "invited"),
                            ("withdrawn", "invitation withdrawn"),
                        ],
                        max_length=20,
                        verbose_name="event",
                    ),
                ),
                ("user_key", models.BigIntegerField(null=True, verbose_name="user ID")),
                ("user_name", models.CharField(max_length=254, verbose_name="person")),
                (
                    "organization_key",
                    models.BigIntegerField(verbose_name="organization ID"),
                ),
                (
                    "organization_name",
                    models.CharField(max_length=255, verbose_name="organization"),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("admin", "Admin"), ("reviewer", "Reviewer")],
                        max_length=20,
                        verbose_name="role",
                    ),
                ),
                (
                    "actor_key",
                    models.BigIntegerField(null=True, verbose_name="by user ID"),
                ),
                (
                    "actor_name",
                    models.CharField(blank=True, max_length=150, verbose_name="by"),
                ),
                ("reason", models.TextField(blank=True, verbose_name="reason")),
            ],
            options={
                "verbose_name": "membership event",
                "verbose_name_plural": "membership ledger",
                "ordering": ["-pk"],
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(
                        fields=["organization_key", "user_key", "id"],
                        name="event_organization",
                    ),
                    models.Index(fields=["user_key"], name="event_user"),
                ],
            },
        ),
    ]
