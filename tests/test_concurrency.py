from django.db import connection
from django.test import TransactionTestCase

from tests.scratch import scratch_database

SAVES = 50  # of each process

SAVE_ONE_BY_ONE = f"""
from django.db import transaction
from orgadmin.models import Organization

for _ in range({SAVES}):
    with transaction.atomic():
        Organization(name="The Same Name").save()
"""

SAVE_TOGETHER = f"""
from django.db import transaction
from orgadmin.models import Organization

with transaction.atomic():
    for _ in range({SAVES}):
        Organization(name="The Same Name").save()
"""

COUNT_ROWS = """
from django.contrib.auth.models import Group
from orgadmin.models import Organization, OrganizationGroupObjectPermission

names = list(Organization.objects.values_list("admin__name", "reviewer__name"))
print(len(names))
print(len(set(names)))
print(Group.objects.count())
print(OrganizationGroupObjectPermission.objects.count())
"""

LIST_NUMBERS = """
import re
from orgadmin.models import Organization

for name in Organization.objects.values_list("admin__name", flat=True):
    print(re.fullmatch("The Same Name( [0-9]+)? Admin", name)[1] or 0)
"""


class ManyWritersTests(TransactionTestCase):
    """Processes that save organizations of one name at the same time all succeed."""

    def test_each_save_in_its_own_transaction(self):
        self.save_in_processes(SAVE_ONE_BY_ONE)

    def test_many_saves_in_one_transaction(self):
        self.save_in_processes(SAVE_TOGETHER)

    def save_in_processes(self, program):
        count = 16 if connection.vendor == "postgresql" else 4
        with scratch_database() as scratch:
            processes = [scratch.start(program) for _ in range(count)]
            for process in processes:
                _, errors = process.communicate()
                self.assertEqual((process.returncode, errors), (0, ""))
            self.assert_complete(scratch, organizations=count * SAVES)

    def assert_complete(self, scratch, organizations):
        counts = [int(line) for line in scratch.run(COUNT_ROWS).split()]
        groups = 2 * organizations
        permissions = 5 * organizations
        self.assertEqual(counts, [organizations, organizations, groups, permissions])
        # The first hundred numbers are given out without a gap.
        numbers = sorted(int(line) for line in scratch.run(LIST_NUMBERS).split())
        self.assertEqual(numbers[:100], list(range(100)))
