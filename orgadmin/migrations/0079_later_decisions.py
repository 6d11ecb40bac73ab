"""Keep the decisions of access reviews that replace an earlier one."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0078_invitation_email_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="LaterDecision",
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
                    "answer",
                    models.CharField(
                        choices=[
                            ("confirmed", "confirmed"),
                            ("changed", "changed"),
                            ("ended", "ended"),
                            ("left", "access ended before an answer"),
                            ("unconfirmed", "not confirmed"),
                            ("expired", "not confirmed, ended"),
                            ("kept", "not confirmed, kept as last admin"),
                        ],
                        max_length=20,
                        verbose_name="decision",
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
                (
                    "role_before",
                    models.CharField(
                        blank=True,
                        choices=[("admin", "Admin"), ("reviewer", "Reviewer")],
                        max_length=20,
                    ),
                ),
                ("ends_at_before", models.DateTimeField(null=True)),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=[("admin", "Admin"), ("reviewer", "Reviewer")],
                        max_length=20,
                        verbose_name="role",
                    ),
                ),
                ("ends_at", models.DateTimeField(null=True, verbose_name="ends")),
                ("reason", models.TextField(blank=True, verbose_name="reason")),
                ("number", models.PositiveSmallIntegerField()),
                (
                    "item",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="later_decisions",
                        to="orgadmin.reviewitem",
                    ),
                ),
            ],
            options={
                "verbose_name": "later decision of an access review",
                "verbose_name_plural": "later decisions of access reviews",
                "ordering": ["item", "number"],
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["actor_key"], name="review_later_actor")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("item", "number"), name="review_later_decision"
                    )
                ],
            },
        ),
    ]
