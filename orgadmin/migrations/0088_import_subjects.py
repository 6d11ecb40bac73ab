"""Keep whether the rows of an import are about organizations or about people."""

from django.db import migrations, models

CHOICES = [("organizations", "Organizations"), ("people", "People")]


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0087_column_mappings"),
    ]

    operations = [
        migrations.AddField(
            model_name="import",
            name="subject",
            field=models.CharField(
                choices=CHOICES,
                db_default="organizations",
                default="organizations",
                max_length=16,
                verbose_name="content",
            ),
        ),
        migrations.AddField(
            model_name="columnmapping",
            name="subject",
            field=models.CharField(
                choices=CHOICES,
                db_default="organizations",
                default="organizations",
                max_length=16,
            ),
        ),
    ]
