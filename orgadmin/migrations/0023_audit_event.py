"""Create the audit log, which keeps security events."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0022_user_security"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEvent",
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
                ("event", models.CharField(max_length=30, verbose_name="event")),
                ("user_key", models.BigIntegerField(null=True, verbose_name="user ID")),
                (
                    "user_name",
                    models.CharField(blank=True, max_length=254, verbose_name="person"),
                ),
                (
                    "actor_key",
                    models.BigIntegerField(null=True, verbose_name="by user ID"),
                ),
                (
                    "actor_name",
                    models.CharField(blank=True, max_length=150, verbose_name="by"),
                ),
                (
                    "details",
                    models.JSONField(blank=True, default=dict, verbose_name="details"),
                ),
                (
                    "personal",
                    models.JSONField(blank=True, default=dict, editable=False),
                ),
                (
                    "network",
                    models.CharField(blank=True, max_length=50, verbose_name="from"),
                ),
                (
                    "request_id",
                    models.CharField(blank=True, max_length=64, verbose_name="request"),
                ),
                (
                    "position",
                    models.BigIntegerField(editable=False, null=True, unique=True),
                ),
                ("hash", models.CharField(blank=True, editable=False, max_length=64)),
            ],
            options={
                "verbose_name": "audit log entry",
                "verbose_name_plural": "audit log entries",
                "ordering": ["-pk"],
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["user_key", "id"], name="audit_user"),
                    models.Index(fields=["actor_key", "id"], name="audit_actor"),
                    models.Index(fields=["user_name", "id"], name="audit_user_name"),
                    models.Index(fields=["at", "id"], name="audit_at"),
                    models.Index(fields=["event", "at", "id"], name="audit_event_at"),
                    models.Index(
                        condition=models.Q(("position__isnull", True)),
                        fields=["id"],
                        name="audit_unsealed",
                    ),
                ],
            },
        ),
    ]
