"""Make completed access reviews unchangeable with triggers, on PostgreSQL.

Items, decisions and requests are only added. A review and its sections change until it
is completed. Erasing a person replaces names after `SET LOCAL orgadmin.erasing = 'on'`,
as in the other logs.

In addition, the models refuse changes on all databases.
"""

from django.db import migrations

# The arguments of the trigger are the columns that erasing may change.
CREATE_FUNCTION = """
    CREATE OR REPLACE FUNCTION orgadmin_review_refuse()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE'
            AND current_setting('orgadmin.erasing', true) = 'on'
            AND to_jsonb(OLD) - TG_ARGV = to_jsonb(NEW) - TG_ARGV
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'Access reviews are evidence. Start a new one instead.';
    END $$;

    CREATE OR REPLACE FUNCTION orgadmin_completed_review_refuse()
    RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND NOT EXISTS (
            SELECT 1
            FROM orgadmin_accessreview review
            WHERE review.id = OLD.review_id
                AND review.completed_at IS NOT NULL
        )
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'Access reviews are evidence. Start a new one instead.';
    END $$;

    CREATE OR REPLACE TRIGGER orgadmin_accessreview_is_evidence
    BEFORE UPDATE ON orgadmin_accessreview
    FOR EACH ROW
    WHEN (OLD.completed_at IS NOT NULL)
    EXECUTE FUNCTION orgadmin_review_refuse('started_by_name');

    CREATE OR REPLACE TRIGGER orgadmin_accessreview_stays
    BEFORE DELETE ON orgadmin_accessreview
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_review_refuse();

    CREATE OR REPLACE TRIGGER orgadmin_reviewsection_is_evidence
    BEFORE UPDATE OR DELETE ON orgadmin_reviewsection
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_completed_review_refuse();

    CREATE OR REPLACE TRIGGER orgadmin_reviewitem_is_evidence
    BEFORE UPDATE OR DELETE ON orgadmin_reviewitem
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_review_refuse('user_name', 'full_name', 'added_by_name');

    CREATE OR REPLACE TRIGGER orgadmin_reviewdecision_is_evidence
    BEFORE UPDATE OR DELETE ON orgadmin_reviewdecision
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_review_refuse('actor_name', 'reason');

    CREATE OR REPLACE TRIGGER orgadmin_reviewnotice_is_evidence
    BEFORE UPDATE OR DELETE ON orgadmin_reviewnotice
    FOR EACH ROW
    EXECUTE FUNCTION orgadmin_review_refuse('user_name');
"""

DROP = """
    DROP TRIGGER IF EXISTS orgadmin_accessreview_is_evidence ON orgadmin_accessreview;
    DROP TRIGGER IF EXISTS orgadmin_accessreview_stays ON orgadmin_accessreview;
    DROP TRIGGER IF EXISTS orgadmin_reviewsection_is_evidence ON orgadmin_reviewsection;
    DROP TRIGGER IF EXISTS orgadmin_reviewitem_is_evidence ON orgadmin_reviewitem;
    DROP TRIGGER IF EXISTS orgadmin_reviewdecision_is_evidence
    ON orgadmin_reviewdecision;
    DROP TRIGGER IF EXISTS orgadmin_reviewnotice_is_evidence ON orgadmin_reviewnotice;
    DROP FUNCTION IF EXISTS orgadmin_review_refuse();
    DROP FUNCTION IF EXISTS orgadmin_completed_review_refuse();
"""


def create_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE_FUNCTION, params=None)


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP, params=None)


class Migration(migrations.Migration):
    dependencies = [("orgadmin", "0064_access_reviews")]

    operations = [migrations.RunPython(create_triggers, drop_triggers)]
