"""Keep the ends of memberships in the membership log and in invitations.

The trigger of 0028 covers the column of the log: a stored end cannot be changed.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0067_membership_end_index")]

    operations = [
        migrations.AddField(
            model_name="membershipevent",
            name="ends_at",
            field=models.DateTimeField(null=True, verbose_name="until"),
        ),
        migrations.AlterField(
            model_name="membershipevent",
            name="event",
            field=models.CharField(
                choices=[
                    ("joined", "joined"),
                    ("found", "found"),
                    ("left", "left"),
                    ("end changed", "end changed"),
                    ("invited", "invited"),
                    ("withdrawn", "invitation revoked"),
                ],
                max_length=20,
                verbose_name="event",
            ),
        ),
        migrations.AddField(
            model_name="invitation",
            name="membership_ends_at",
            field=models.DateTimeField(null=True),
        ),
    ]
