"""Add the verified email address and the session epoch of users.

The columns have defaults in the database, so that the previous release can still insert
users.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0021_reword_labels")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="verified_email",
            field=models.EmailField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=254,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="email_verified_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="user",
            name="session_epoch",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
