"""Add the language, the time zone and the choices about mail of each person.

The columns have defaults in the database, so that the previous release can still insert
users.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0042_unique_normal_forms")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=16,
                verbose_name="language",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="time_zone",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=64,
                verbose_name="time zone",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="mail_own_roles",
            field=models.BooleanField(
                db_default=True,
                default=True,
                verbose_name="When my role in an organization changes",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="mail_people",
            field=models.BooleanField(
                db_default=True,
                default=True,
                verbose_name=(
                    "When other people join or leave my organizations, or change their"
                    " role"
                ),
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="mail_accepted",
            field=models.BooleanField(
                db_default=True,
                default=True,
                verbose_name="When someone accepts an invitation that I sent",
            ),
        ),
    ]
