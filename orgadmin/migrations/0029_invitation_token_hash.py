"""Add the hash of the secret that the link of an invitation contains.

Invitations of the previous release have none, and it can still insert some.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0028_membership_log_can_forget")]

    operations = [
        migrations.AddField(
            model_name="invitation",
            name="token_hash",
            field=models.CharField(
                editable=False, max_length=64, null=True, unique=True
            ),
        ),
    ]
