"""Large imports: a worker reads and imports them."""

import time
from unittest import mock

from django.core import mail
from django.db import connection, transaction
from django.test import TransactionTestCase, tag
from django_tasks_db.models import DBTaskResult

from orgadmin.models import AuditEvent, Import, Organization, User
from orgadmin.people.worker import give_up
from orgadmin.records import import_jobs
from orgadmin.records.imports.options import Limits
from tests.killing import END_LEASES
from tests.mailing import queues_mail, work
from tests.scratch import scratch_database

from .factories import create_superuser
from .test_import_export import IMPORT
from .test_stored_imports import StoredCase

FILE = "reference,phone,name\nR1,2,Acme\n,,New\n,,Other\n"


@queues_mail()
class JobTests(StoredCase):
    def setUp(self):
        super().setUp()
        self.root.email = "root@example.com"
        self.root.save()
        self.client.force_login(self.root)
        limits = Limits(rows=2, size=10_000)
        for module in ("records.import_jobs", "admin.imports.import_export"):
            patch = mock.patch(f"orgadmin.{module}.REQUEST_LIMITS", limits)
            patch.start()
            self.addCleanup(patch.stop)

    def read_phone(self):
        return Organization.objects.get(pk=self.acme.pk).phone

    def prepare(self, text=FILE):
        """Upload a file, and return its preview, which a worker has made."""
        url = self.upload(text).request["PATH_INFO"]
        work()
        return self.client.get(url)

    def test_a_worker_makes_the_preview_and_the_import(self):
        response = self.upload(FILE)
        self.assertContains(response, "The file is being read")
        self.assertContains(response, 'http-equiv="refresh"')
        self.assertContains(response, "No worker is running")
        work()
        preview = self.client.get(response.request["PATH_INFO"])
        self.assertContains(preview, "Create 2 organizations")
        response = self.confirm(preview)
        self.assertContains(response, "the import continues")
        self.assertEqual(self.read_phone(), "1")
        work()
        response = self.client.get(response.request["PATH_INFO"])
        self.assertContains(response, "2 organizations were created.")
        self.assertNotContains(response, 'http-equiv="refresh"')
        self.assertEqual(self.read_phone(), "2")
        self.assertEqual(DBTaskResult.objects.count(), 0)

    def test_the_author_gets_an_email_with_the_result(self):
        self.confirm(self.prepare())
        work()
        [message] = mail.outbox
        self.assertEqual(message.to, ["root@example.com"])
        for text in ("“organizations[.]csv”", "2 organizations were created."):
            self.assertIn(text, " ".join(message.body.split()))
        self.assertIn(f"/import/{Import.objects.get().pk}/overview/", message.body)

    def test_a_large_file_is_read_by_the_worker_too(self):
        row = f"{'x' * 9_000}\n"
        response = self.upload(f"name,notes\nNew,{row}Other,{row}")
        self.assertContains(response, "The file is being read")
        self.assertFalse(Import.objects.get().parts.filter(kind="records").exists())
        work()
        response = self.client.get(response.request["PATH_INFO"])
        self.assertContains(response, "Create 2 organizations")

    def test_other_choices_are_tried_by_the_worker(self):
        preview = self.prepare("name,phone\nAcme,2\nNew,\nOther,\n")
        self.assertContains(preview, "Create 3 organizations")
        url = preview.request["PATH_INFO"]
        self.client.post(url, {"preview": "1", "matches_names": "on"})
        work()
        self.assertContains(self.client.get(url), "Create 2 organizations")

    @tag("C32")
    def test_what_has_changed_since_the_preview_is_not_overwritten(self):
        response = self.confirm(self.prepare())
        Organization.objects.filter(pk=self.acme.pk).update(phone="7")
        work()
        response = self.client.get(response.request["PATH_INFO"])
        self.assertContains(response, "something has changed in the meantime")
        self.assertContains(response, "phone: “7” → “2”")
        self.assertEqual(self.read_phone(), "7")
        self.assertFalse(Organization.objects.filter(name="New").exists())
        self.confirm(response)
        work()
        self.assertEqual(self.read_phone(), "2")

    @tag("A41")
    def test_nothing_happens_for_someone_who_is_no_superuser_by_then(self):
        self.confirm(self.prepare())
        create_superuser("other")
        User.objects.filter(pk=self.root.pk).update(is_superuser=False)
        work()
        self.assertEqual(self.read_phone(), "1")
        stored = Import.objects.get()
        self.assertEqual(stored.state, "failed")
        self.assertEqual(stored.notice, "You are no longer platform staff.")
        self.assertEqual(mail.outbox, [])

    def test_can_be_cancelled_until_the_worker_begins(self):
        response = self.confirm(self.prepare())
        url = response.request["PATH_INFO"]
        self.assertContains(response, "Cancel import")
        self.client.post(url, {"cancel": "1"})
        work()
        self.assertFalse(Import.objects.exists())
        self.assertEqual(self.read_phone(), "1")

    def test_cannot_be_cancelled_once_the_worker_has_begun(self):
        response = self.confirm(self.prepare())
        Import.objects.update(state=Import.State.WORKING)
        url = response.request["PATH_INFO"]
        response = self.client.post(url, {"cancel": "1"}, follow=True)
        self.assertContains(response, "can no longer be canceled")
        work()
        self.assertEqual(self.read_phone(), "2")

    def test_says_so_if_the_worker_was_killed_each_time_and_tries_again(self):
        response = self.confirm(self.prepare())
        url = response.request["PATH_INFO"]
        Import.objects.update(state=Import.State.WORKING)
        give_up(DBTaskResult.objects.get(), "killed")
        response = self.client.get(url)
        self.assertContains(response, "The worker has stopped several times.")
        self.client.post(url, {"again": "1"})
        work()
        self.assertContains(self.client.get(url), "2 organizations were created.")

    def test_is_imported_once_if_the_task_runs_twice(self):
        self.confirm(self.prepare())
        stored = Import.objects.get()
        start = self.enqueue_again(stored)
        self.assertEqual(start, 2)
        work()
        self.assertEqual(Organization.objects.filter(name="New").count(), 1)
        self.assertEqual(AuditEvent.objects.filter(event="imported").count(), 1)
        self.assertEqual(len(mail.outbox), 1)

    def enqueue_again(self, stored):
        import_jobs.start_importing(stored)
        return DBTaskResult.objects.count()

    def test_is_read_at_the_upload_page_by_its_author(self):
        self.upload(FILE)
        self.assertContains(self.client.get(IMPORT), "Being read")


class ProgressTests(TransactionTestCase):
    def test_others_see_it_while_the_import_is_running(self):
        if connection.vendor != "postgresql":
            self.skipTest("SQLite has one writer at a time.")
        stored = Import.objects.create(actor_key=1)
        with transaction.atomic():
            # As the import does at its end.
            import_jobs.Progress(stored)(1_000)
            other = connection.copy()
            with other.cursor() as cursor:
                cursor.execute("SELECT line FROM orgadmin_import")
                self.assertEqual(cursor.fetchone(), (1_000,))
            other.close()
            Import.objects.select_for_update().get()
            import_jobs.Progress(stored)(2_000)
        stored.refresh_from_db()
        self.assertEqual(stored.line, 1_000)


# An import of 3,000 rows that waits for a worker.
START_JOB = """
import io
from orgadmin.models import Import, User
from orgadmin.records import import_jobs
from orgadmin.records.imports import stored_imports
from orgadmin.records.imports.options import PAGE_LIMITS, ImportOptions
from tests.mailing import queues_mail

root = User.objects.create_superuser("root")
rows = "".join(f"No {n},{n}\\n" for n in range(3_000))
file = io.BytesIO(f"name,phone\\n{rows}".encode())
choices = stored_imports.Choices(ImportOptions(limits=PAGE_LIMITS))
stored = stored_imports.store_upload(file, "file.csv", choices, actor=root)
stored_imports.store_records(stored)
stored_imports.prepare_preview(stored, actor=root)
with queues_mail():
    stored.move([Import.State.WAITING], Import.State.QUEUED)
    import_jobs.start_importing(stored)
"""
WORK = """
from orgadmin.people.worker import Worker
from tests.mailing import queues_mail

with queues_mail():
    Worker().run(once=True)
"""
READ_JOB = """
from django.contrib.auth.models import Group
from orgadmin.models import Import, Organization

print(Import.objects.get().state, Organization.objects.count(), Group.objects.count())
"""


class KilledWorkerTests(TransactionTestCase):
    def test_each_import_is_made_once_or_not_at_all(self):
        with scratch_database() as database:
            database.run(START_JOB)
            for pause in (0.2, 0.6, 1.2, 2):
                worker = database.start(WORK)
                time.sleep(pause)
                worker.kill()
                worker.communicate()
                state, *numbers = database.run(READ_JOB).split()
                expected = ["3000", "6000"] if state == "done" else ["0", "0"]
                self.assertEqual(numbers, expected)
                database.run(END_LEASES)
            database.run(WORK)
            self.assertEqual(database.run(READ_JOB).split(), ["done", "3000", "6000"])
