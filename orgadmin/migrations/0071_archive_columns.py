"""Archived organizations, step 1 of 2: add the columns.

They are empty, so the previous release can still insert and change rows. It shows
organizations that the new release has archived.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0070_membership_of_user_index")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="archived_at",
            field=models.DateTimeField(
                editable=False, null=True, verbose_name="archived"
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="archived_by_key",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="archived_by_name",
            field=models.CharField(editable=False, max_length=150, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="trashed_at",
            field=models.DateTimeField(
                editable=False, null=True, verbose_name="moved to trash"
            ),
        ),
        migrations.AddField(
            model_name="organization",
            name="trashed_by_key",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="organization",
            name="trashed_by_name",
            field=models.CharField(editable=False, max_length=150, null=True),
        ),
    ]
