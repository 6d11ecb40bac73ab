"""Let erasing a person replace the name of who closed a review, on PostgreSQL.

The trigger refuses all other changes of completed reviews, as before.
"""

from django.db import migrations

CREATE = """
    CREATE OR REPLACE TRIGGER orgadmin_accessreview_is_evidence
    BEFORE UPDATE ON orgadmin_accessreview
    FOR EACH ROW
    WHEN (OLD.completed_at IS NOT NULL)
    EXECUTE FUNCTION orgadmin_review_refuse({columns});
"""


def allow_both_names(apps, schema_editor):
    create_trigger(schema_editor, "'started_by_name', 'closed_by_name'")


def allow_one_name(apps, schema_editor):
    create_trigger(schema_editor, "'started_by_name'")


def create_trigger(schema_editor, columns):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE.format(columns=columns), params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0089_close_reviews_early")]

    operations = [migrations.RunPython(allow_both_names, allow_one_name)]
