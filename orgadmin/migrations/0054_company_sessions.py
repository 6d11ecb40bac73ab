"""Remember which sessions began with a company account.

The columns are empty for all other sessions, and for those that the previous release
begins.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0051_membership_source")]

    operations = [
        migrations.AddField(
            model_name="usersession",
            name="company_subject",
            field=models.CharField(blank=True, max_length=64, null=True),
        ),
        migrations.AddField(
            model_name="usersession",
            name="company_sid",
            field=models.CharField(blank=True, max_length=64, null=True),
        ),
    ]
