"""Remove the validators of text from the fields: the fields now clean text themselves.

This changes no table. A later rule for text needs no migration.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0024_audit_log_is_append_only"),
    ]

    operations = [
        migrations.AlterField(
            model_name="contact",
            name="email",
            field=models.EmailField(blank=True, max_length=254, verbose_name="email"),
        ),
        migrations.AlterField(
            model_name="contact",
            name="name",
            field=models.CharField(max_length=255, verbose_name="name"),
        ),
        migrations.AlterField(
            model_name="contact",
            name="phone",
            field=models.CharField(blank=True, max_length=50, verbose_name="phone"),
        ),
        migrations.AlterField(
            model_name="contact",
            name="role",
            field=models.CharField(blank=True, max_length=100, verbose_name="role"),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="address",
            field=models.TextField(blank=True, verbose_name="address"),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="email",
            field=models.EmailField(blank=True, max_length=254, verbose_name="email"),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="name",
            field=models.CharField(max_length=255, verbose_name="name"),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="notes",
            field=models.TextField(blank=True, verbose_name="notes"),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="phone",
            field=models.CharField(blank=True, max_length=50, verbose_name="phone"),
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
                verbose_name="reference",
            ),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="tax_id",
            field=models.CharField(blank=True, max_length=50, verbose_name="tax ID"),
        ),
        migrations.AlterField(
            model_name="historicalorganization",
            name="website",
            field=models.URLField(blank=True, max_length=500, verbose_name="website"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="address",
            field=models.TextField(blank=True, verbose_name="address"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="email",
            field=models.EmailField(blank=True, max_length=254, verbose_name="email"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="name",
            field=models.CharField(max_length=255, verbose_name="name"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="notes",
            field=models.TextField(blank=True, verbose_name="notes"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="phone",
            field=models.CharField(blank=True, max_length=50, verbose_name="phone"),
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
                verbose_name="reference",
            ),
        ),
        migrations.AlterField(
            model_name="organization",
            name="tax_id",
            field=models.CharField(blank=True, max_length=50, verbose_name="tax ID"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="website",
            field=models.URLField(blank=True, max_length=500, verbose_name="website"),
        ),
    ]
