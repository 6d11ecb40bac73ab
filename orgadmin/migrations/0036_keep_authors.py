"""Keep who changed what as plain values, which remain when the account is deleted.

The previous release writes records without these values, so their author is filled in
when the account is deleted.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("orgadmin", "0035_sent_form"),
    ]

    operations = [
        migrations.AddField(
            model_name="historicalorganization",
            name="history_user_key",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="historicalorganization",
            name="history_user_name",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=150
            ),
        ),
        migrations.CreateModel(
            name="KeptLogEntry",
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
                ("entry_key", models.BigIntegerField()),
                ("action_time", models.DateTimeField()),
                ("user_key", models.BigIntegerField()),
                ("user_name", models.CharField(max_length=150)),
                ("object_id", models.TextField(null=True)),
                ("object_repr", models.CharField(max_length=200)),
                ("action_flag", models.PositiveSmallIntegerField()),
                ("change_message", models.TextField(blank=True)),
                (
                    "content_type",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="contenttypes.contenttype",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["object_id", "content_type", "entry_key"],
                        name="kept_entry",
                    )
                ],
            },
        ),
    ]
