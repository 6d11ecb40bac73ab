"""Keep of which ends of memberships people were reminded."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0074_call_users_people"),
    ]

    operations = [
        migrations.CreateModel(
            name="EndReminder",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("user_key", models.BigIntegerField()),
                ("group_key", models.BigIntegerField()),
                ("ends_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("ends_at", "group_key", "user_key"),
                        name="unique_end_reminder",
                    )
                ],
            },
        ),
    ]
