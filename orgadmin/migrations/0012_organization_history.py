"""Create the table for the history of organizations' fields."""

import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0011_sign_in_attempt")]

    operations = [
        migrations.CreateModel(
            name="HistoricalOrganization",
            fields=[
                (
                    "id",
                    models.BigIntegerField(
                        auto_created=True, blank=True, db_index=True, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=255,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="name",
                    ),
                ),
                (
                    "reference",
                    models.CharField(
                        blank=True,
                        error_messages={
                            "unique": "Another organization has this reference. Each can be used once."
                        },
                        help_text="The key that this record has elsewhere, such as a customer number. Set by platform staff.",
                        max_length=100,
                        null=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="reference",
                    ),
                ),
                (
                    "website",
                    models.URLField(
                        blank=True,
                        max_length=500,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="website",
                    ),
                ),
                (
                    "email",
                    models.EmailField(
                        blank=True,
                        max_length=254,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="e-mail",
                    ),
                ),
                (
                    "phone",
                    models.CharField(
                        blank=True,
                        max_length=50,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="phone",
                    ),
                ),
                (
                    "address",
                    models.TextField(
                        blank=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a character that cannot be shown. Type it anew.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="address",
                    ),
                ),
                (
                    "tax_id",
                    models.CharField(
                        blank=True,
                        max_length=50,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="tax ID",
                    ),
                ),
                (
                    "notes",
                    models.TextField(
                        blank=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a character that cannot be shown. Type it anew.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="notes",
                    ),
                ),
                (
                    "history_id",
                    models.BigAutoField(
                        editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("history_date", models.DateTimeField()),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")],
                        max_length=1,
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "historical organization",
                "verbose_name_plural": "historical organizations",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        )
    ]
