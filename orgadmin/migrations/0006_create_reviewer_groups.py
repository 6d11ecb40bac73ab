"""The reviewer group, step 2 of 3: create a group for each organization."""

from django.db import migrations

from orgadmin.operations import PopulateGroups


class Migration(migrations.Migration):
    # Each batch is committed separately. An interrupted migration can be run again.
    atomic = False

    dependencies = [
        ("orgadmin", "0005_organization_reviewer"),
        ("guardian", "0001_initial"),
    ]

    operations = [PopulateGroups("orgadmin.Organization", "reviewer", "Reviewer")]
