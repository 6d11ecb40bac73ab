"""Create the table for the contact people of organizations."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0009_grant_permissions")]

    operations = [
        migrations.CreateModel(
            name="Contact",
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
                    "role",
                    models.CharField(
                        blank=True,
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                                "This has a line break or a character that cannot be shown. Type it anew, on one line.",
                                "unprintable",
                                inverse_match=True,
                            )
                        ],
                        verbose_name="role",
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
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="contacts",
                        to="orgadmin.organization",
                        verbose_name="organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "contact",
                "verbose_name_plural": "contacts",
                "ordering": ["name", "pk"],
            },
        )
    ]
