"""Add the source of membership changes that no person and no command made.

The column has a default in the database, so that the previous release can still insert
rows. The trigger of 0028 covers it: a stored source cannot be changed.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0050_mail_worker")]

    operations = [
        migrations.AddField(
            model_name="membershipevent",
            name="source",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=200,
                verbose_name="source",
            ),
        ),
    ]
