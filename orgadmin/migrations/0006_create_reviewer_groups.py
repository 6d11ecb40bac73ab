"""The reviewer group, step 2 of 3: data, and nothing else."""

from django.db import migrations

from orgadmin.operations import PopulateGroups


class Migration(migrations.Migration):
    atomic = False  # commits batch by batch; interrupted, it is run again

    dependencies = [
        ("orgadmin", "0005_organization_reviewer"),
        ("guardian", "0001_initial"),
    ]

    operations = [PopulateGroups("orgadmin.Organization", "reviewer", "Reviewer")]
