"""What a search compares, step 1 of 3: the column. Its default is the database's, so that the release before this one,
which does not know the column, goes on saving."""

from django.db import migrations

import orgadmin.search


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0017_invitation")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="search_text",
            field=orgadmin.search.SearchTextField("name", "reference", "address"),
        )
    ]
