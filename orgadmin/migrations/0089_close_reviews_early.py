"""Add who closed or cancelled an access review, and when."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0088_import_subjects")]

    operations = [
        migrations.AddField(
            model_name="accessreview",
            name="closed_at",
            field=models.DateTimeField(null=True, verbose_name="closed early"),
        ),
        migrations.AddField(
            model_name="accessreview",
            name="closed_by_key",
            field=models.BigIntegerField(null=True, verbose_name="by user ID"),
        ),
        migrations.AddField(
            model_name="accessreview",
            name="closed_by_name",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=150,
                verbose_name="closed by",
            ),
        ),
        migrations.AddField(
            model_name="accessreview",
            name="is_cancelled",
            field=models.BooleanField(
                db_default=False, default=False, verbose_name="canceled"
            ),
        ),
    ]
