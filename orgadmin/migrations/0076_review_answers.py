"""Say in other words that access had ended before an answer. Changes no column."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0075_end_reminder"),
    ]

    operations = [
        migrations.AlterField(
            model_name="reviewdecision",
            name="answer",
            field=models.CharField(
                choices=[
                    ("confirmed", "confirmed"),
                    ("changed", "changed"),
                    ("ended", "ended"),
                    ("left", "access ended before an answer"),
                    ("unconfirmed", "not confirmed"),
                    ("expired", "not confirmed, ended"),
                    ("kept", "not confirmed, kept as last admin"),
                ],
                max_length=20,
                verbose_name="decision",
            ),
        ),
    ]
