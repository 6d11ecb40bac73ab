"""Let a membership have an end.

The column is in the table behind `User.groups`, of which Django knows nothing but the
two keys. So both databases get it by SQL, and the model for it is not managed. The
previous release does not know the column: memberships that it adds have no end.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

ADD_COLUMN = """
    ALTER TABLE orgadmin_user_groups
    ADD COLUMN ends_at timestamp with time zone NULL
"""
DROP_COLUMN = "ALTER TABLE orgadmin_user_groups DROP COLUMN ends_at"


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("orgadmin", "0065_reviews_are_evidence"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(ADD_COLUMN, DROP_COLUMN)],
            state_operations=[
                migrations.CreateModel(
                    name="Membership",
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
                        ("ends_at", models.DateTimeField(null=True)),
                        (
                            "group",
                            models.ForeignKey(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="memberships",
                                to="auth.group",
                            ),
                        ),
                        (
                            "user",
                            models.ForeignKey(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="memberships",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "db_table": "orgadmin_user_groups",
                        "managed": False,
                        "default_permissions": (),
                    },
                ),
            ],
        )
    ]
