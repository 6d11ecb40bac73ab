from django.db import connection
from django.test import TransactionTestCase

from .scratch import scratch_database

SAVE = """
from django.db import transaction
from orgadmin.models import Organization
for _ in range(50):
    with transaction.atomic():
        Organization(name="The Same Name").save()
"""
SAVE_TOGETHER = """
from django.db import transaction
from orgadmin.models import Organization
with transaction.atomic():
    for _ in range(50):
        Organization(name="The Same Name").save()
"""
CHECK = """
from django.contrib.auth.models import Group
from orgadmin.models import Organization
names = list(Organization.objects.values_list("admin__name", "reviewer__name"))
print(len(names), len(set(names)), Group.objects.count(), Organization.group_grants.rel.related_model.objects.count())
numbers = sorted(int(name[13:-5].strip() or 0) for name, _ in names)
print(numbers[:100] == list(range(100)))
"""


class ManyWritersTests(TransactionTestCase):
    def test_processes_that_save_one_name_at_once_all_succeed(self):
        self.save_in_processes(SAVE)

    def test_also_when_each_saves_many_in_one_transaction(self):
        self.save_in_processes(SAVE_TOGETHER)

    def save_in_processes(self, code):
        count = 16 if connection.vendor == "postgresql" else 4
        with scratch_database() as scratch:
            scratch.migrate()
            processes = [scratch.start(code) for _ in range(count)]
            for process in processes:
                _, err = process.communicate()
                self.assertEqual((process.returncode, err), (0, ""))
            total = 50 * count
            self.assertEqual(
                scratch.run(CHECK), f"{total} {total} {2 * total} {5 * total}\nTrue\n"
            )
