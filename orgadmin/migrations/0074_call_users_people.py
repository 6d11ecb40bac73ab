"""Call users "people" in the admin. This does not change the database."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0073_access_requests")]

    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={
                "base_manager_name": "objects",
                "verbose_name": "person",
                "verbose_name_plural": "people",
            },
        ),
    ]
