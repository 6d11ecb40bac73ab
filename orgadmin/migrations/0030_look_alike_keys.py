"""The keys by which names that look alike are found, step 1 of 3: add the columns.

The database has defaults for them. So during the upgrade, the previous release can
still insert rows, although it does not know the columns.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0029_invitation_token_hash")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="name_key",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=255
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="username_key",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=255
            ),
        ),
    ]
