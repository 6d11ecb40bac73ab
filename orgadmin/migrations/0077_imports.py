"""Keep what was uploaded to be imported, and what has become of it."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0076_review_answers"),
    ]

    operations = [
        migrations.CreateModel(
            name="Import",
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
                ("actor_key", models.BigIntegerField(verbose_name="imported by")),
                (
                    "file_name",
                    models.CharField(blank=True, max_length=255, verbose_name="file"),
                ),
                ("sha256", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("preparing", "Being read"),
                            ("waiting", "Waiting for confirmation"),
                            ("queued", "Waiting to be imported"),
                            ("working", "Being imported"),
                            ("failed", "Nothing was imported"),
                            ("done", "Imported"),
                            ("undone", "Undone"),
                        ],
                        default="preparing",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                ("choices", models.JSONField(default=dict)),
                ("summary", models.JSONField(default=dict)),
                ("digest", models.CharField(blank=True, max_length=64)),
                ("notice", models.TextField(blank=True)),
                ("line", models.PositiveBigIntegerField(default=0)),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="uploaded"
                    ),
                ),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                (
                    "finished_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="finished"
                    ),
                ),
                ("undone_at", models.DateTimeField(blank=True, null=True)),
                ("undone_by_key", models.BigIntegerField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "import",
                "verbose_name_plural": "imports",
                "ordering": ["-pk"],
                "indexes": [
                    models.Index(
                        fields=["state", "created_at"], name="import_state_created"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ImportPart",
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
                    "kind",
                    models.CharField(
                        choices=[
                            ("file", "file"),
                            ("records", "records"),
                            ("preview", "preview"),
                            ("problems", "problems"),
                            ("warnings", "warnings"),
                            ("skipped", "skipped"),
                            ("changes", "changes"),
                        ],
                        max_length=16,
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("content", models.BinaryField()),
                (
                    "stored_import",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="orgadmin.import",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("stored_import", "kind", "number"),
                        name="unique_import_part",
                    )
                ],
            },
        ),
    ]
