"""Reword labels, help texts and messages. This does not change the database."""

import django.core.validators
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("orgadmin", "0020_search_indexes"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="membershipevent",
            options={
                "base_manager_name": "objects",
                "ordering": ["-pk"],
                "verbose_name": "membership log entry",
                "verbose_name_plural": "membership log entries",
            },
        ),
        migrations.AlterField(
            model_name="contact",
            name="email",
            field=models.EmailField(
                blank=True,
                max_length=254,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="email",
            ),
        ),
        migrations.AlterField(
            model_name="contact",
            name="name",
            field=models.CharField(
                max_length=255,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="name",
            ),
        ),
        migrations.AlterField(
            model_name="contact",
            name="phone",
            field=models.CharField(
                blank=True,
                max_length=50,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="phone",
            ),
        ),
        migrations.AlterField(
            model_name="contact",
            name="role",
            field=models.CharField(
                blank=True,
                max_length=100,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="role",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="address",
            field=models.TextField(
                blank=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a character that cannot be displayed. Type the text again.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="address",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="email",
            field=models.EmailField(
                blank=True,
                max_length=254,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="email",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="name",
            field=models.CharField(
                max_length=255,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="name",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="notes",
            field=models.TextField(
                blank=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a character that cannot be displayed. Type the text again.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="notes",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="phone",
            field=models.CharField(
                blank=True,
                max_length=50,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="phone",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="reference",
            field=models.CharField(
                blank=True,
                error_messages={
                    "unique": "Another organization has this reference. Choose another one."
                },
                help_text="ID in another system, such as a customer number. Set by platform staff.",
                max_length=100,
                null=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="reference",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="tax_id",
            field=models.CharField(
                blank=True,
                max_length=50,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="tax ID",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="website",
            field=models.URLField(
                blank=True,
                max_length=500,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="website",
            ),
        ),
        migrations.AlterField(
            model_name="invitation",
            name="email",
            field=models.EmailField(max_length=254, verbose_name="email"),
        ),
        migrations.AlterField(
            model_name="membershipevent",
            name="event",
            field=models.CharField(
                choices=[
                    ("joined", "joined"),
                    ("found", "found"),
                    ("left", "left"),
                    ("invited", "invited"),
                    ("withdrawn", "invitation revoked"),
                ],
                max_length=20,
                verbose_name="event",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="address",
            field=models.TextField(
                blank=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a character that cannot be displayed. Type the text again.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="address",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="email",
            field=models.EmailField(
                blank=True,
                max_length=254,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="email",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="name",
            field=models.CharField(
                max_length=255,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="name",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="notes",
            field=models.TextField(
                blank=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a character that cannot be displayed. Type the text again.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="notes",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="phone",
            field=models.CharField(
                blank=True,
                max_length=50,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="phone",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="reference",
            field=models.CharField(
                blank=True,
                error_messages={
                    "unique": "Another organization has this reference. Choose another one."
                },
                help_text="ID in another system, such as a customer number. Set by platform staff.",
                max_length=100,
                null=True,
                unique=True,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="reference",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="tax_id",
            field=models.CharField(
                blank=True,
                max_length=50,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="tax ID",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="website",
            field=models.URLField(
                blank=True,
                max_length=500,
                validators=[
                    django.core.validators.RegexValidator(
                        "[\\t\\n\\r\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff\\u202a-\\u202e\\u2066-\\u2069]",
                        "This contains a line break or a character that cannot be displayed. Type the text again, on one line.",
                        code="unprintable",
                        inverse_match=True,
                    )
                ],
                verbose_name="website",
            ),
        ),
        migrations.AlterConstraint(
            model_name="user",
            name="unique_user_email",
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Lower("email"),
                condition=models.Q(("email", ""), _negated=True),
                name="unique_user_email",
                violation_error_message="Someone else has this email address. Use another one, or leave it empty.",
            ),
        ),
    ]
