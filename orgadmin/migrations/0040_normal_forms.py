"""The normal forms of usernames and email addresses, step 1 of 3: add the columns.

They can be NULL, so during the upgrade, the previous release can still insert rows,
although it does not know the columns.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0038_accepted_invitation")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="username_fold",
            field=models.CharField(
                blank=True, default=None, editable=False, max_length=255, null=True
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="email_fold",
            field=models.CharField(
                blank=True, default=None, editable=False, max_length=512, null=True
            ),
        ),
    ]
