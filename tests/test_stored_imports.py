"""Stored imports: who can read and confirm them, and how long they are kept."""

import re
from datetime import timedelta
from unittest import mock

from django.contrib.messages import get_messages
from django.test import TestCase, tag
from django.utils import timezone

from orgadmin.models import AuditEvent, Import, ImportPart, Organization
from orgadmin.records.imports.parts import ITEMS_PER_PART, PartList, PartWriter

from .factories import create_organization, create_superuser, create_user
from .test_import_export import IMPORT, file_of

IMPORTS = "/admin/orgadmin/import/"


class StoredCase(TestCase):
    def setUp(self):
        self.root = create_superuser("root")
        self.client.force_login(self.root)
        self.acme = create_organization("Acme", reference="R1", phone="1")

    def upload(self, text, **data):
        """Upload a file, and return its preview."""
        return self.client.post(IMPORT, {"file": file_of(text), **data}, follow=True)

    def confirm(self, preview, **data):
        """Press the button of a preview."""
        seen = re.search(r'name="seen" value="(\w+)"', preview.text)[1]
        url = preview.request["PATH_INFO"]
        return self.client.post(url, {"seen": seen, **data}, follow=True)


class WaitingTests(StoredCase):
    @tag("A41")
    def test_of_someone_else_is_like_a_missing_one(self):
        url = self.upload("name\nHidden\n").request["PATH_INFO"]
        stored = Import.objects.get()
        self.client.force_login(create_superuser("other"))
        missing = url.replace(str(stored.pk), "880088")
        data = {"seen": stored.digest}
        for ask in (self.client.get, self.client.post):
            texts = []
            for address in (url, missing):
                response = ask(address, data)
                self.assertRedirects(response, "/admin/")
                [message] = get_messages(response.wsgi_request)
                texts.append(str(message).replace("880088", str(stored.pk)))
            self.assertEqual(*texts)
        self.assertNotContains(self.client.get(IMPORTS), "organizations.csv")
        self.assertNotContains(self.client.get(IMPORT), "organizations.csv")
        self.assertFalse(Organization.objects.filter(name="Hidden").exists())

    def test_is_found_again_by_its_author(self):
        url = self.upload("name\nNew\n").request["PATH_INFO"]
        self.assertContains(self.client.get(IMPORT), url)
        preview = self.client.get(url)
        self.assertContains(preview, "Create 1 organization")
        self.assertContains(self.confirm(preview), "1 organization was created.")

    def test_is_confirmed_without_reading_the_file_again(self):
        preview = self.upload("name\nNew\n")
        reader = mock.patch("orgadmin.records.imports.stored_imports.read_table")
        with reader as read_table:
            self.confirm(preview)
        read_table.assert_not_called()
        self.assertTrue(Organization.objects.filter(name="New").exists())

    def test_imports_nothing_that_its_author_has_not_seen(self):
        preview = self.upload("reference,phone,name\nR1,2,Acme\n")
        url = preview.request["PATH_INFO"]
        for seen in ("", "0" * 64):
            response = self.client.post(url, {"seen": seen}, follow=True)
            self.assertContains(response, "Nothing was imported yet.")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")

    def test_can_be_cancelled(self):
        url = self.upload("name\nNew\n").request["PATH_INFO"]
        response = self.client.post(url, {"cancel": "1"}, follow=True)
        self.assertContains(response, "The import was canceled.")
        self.assertFalse(Import.objects.exists() or ImportPart.objects.exists())

    def test_is_deleted_after_a_day(self):
        self.upload("name\nNew\n")
        Import.objects.update(created_at=timezone.now() - timedelta(hours=23))
        Import.objects.delete_old()
        self.assertTrue(Import.objects.exists())
        Import.objects.update(created_at=timezone.now() - timedelta(hours=25))
        Import.objects.delete_old()
        self.assertFalse(Import.objects.exists() or ImportPart.objects.exists())

    def test_a_name_of_a_file_cannot_be_anything(self):
        for name in ("\u202ecsv.exe", "x" * 300 + ".csv", "<b>a</b>.csv"):
            file = file_of("name\nNew\n")
            file.name = name
            response = self.client.post(IMPORT, {"file": file}, follow=True)
            self.assertEqual(response.status_code, 200)
            self.assertNotContains(response, "<b>a</b>")
            self.assertNotContains(response, "\u202e")

    def test_who_is_no_superuser_any_more_confirms_nothing(self):
        preview = self.upload("name\nNew\n")
        create_superuser("other")
        self.root.is_superuser = False
        self.root.is_staff = True
        self.root.save()
        self.confirm(preview)
        self.assertFalse(Organization.objects.filter(name="New").exists())


class DoneTests(StoredCase):
    def import_file(self, text):
        return self.confirm(self.upload(text))

    def test_is_listed_for_all_platform_staff_with_links(self):
        page = self.import_file("reference,phone,name\nR1,2,Acme\n,,New\n")
        new = Organization.objects.get(name="New")
        self.client.force_login(create_superuser("other"))
        response = self.client.get(IMPORTS)
        for text in ("organizations.csv", "root", "1 organization was created."):
            self.assertContains(response, text)
        url = page.request["PATH_INFO"]
        self.assertContains(response, Import.objects.get().pk)
        response = self.client.get(url)
        for organization in (self.acme, new):
            self.assertContains(response, f"organization/{organization.pk}/overview/")
        self.assertContains(response, "phone")

    def test_keeps_neither_the_file_nor_its_records(self):
        self.import_file("name\nNew\n")
        kinds = set(ImportPart.objects.values_list("kind", flat=True))
        self.assertEqual(kinds, {"changes"})

    def test_its_rows_are_kept_for_a_month_and_its_entry_for_ever(self):
        url = self.import_file("name\nNew\n").request["PATH_INFO"]
        Import.objects.update(finished_at=timezone.now() - timedelta(days=31))
        Import.objects.delete_old()
        self.assertFalse(ImportPart.objects.exists())
        self.assertContains(self.client.get(url), "1 organization was created.")
        self.assertContains(self.client.get(url), "deleted 30 days after")

    def test_costs_the_same_queries_for_any_number_of_rows(self):
        urls = []
        for number in (1, 60):
            rows = "".join(f"N {number} {row}\n" for row in range(number))
            urls.append(self.import_file(f"name\n{rows}").request["PATH_INFO"])
        self.client.get(urls[0])
        with self.assertNumQueries(9):
            self.client.get(urls[0])
        with self.assertNumQueries(9):
            self.client.get(urls[1])

    def test_is_one_event_of_the_audit_log(self):
        self.import_file("name\nNew\nOther\n")
        self.assertEqual(AuditEvent.objects.filter(event="imported").count(), 1)

    @tag("A41")
    def test_shows_nothing_to_others(self):
        url = self.import_file("name\nNew\n").request["PATH_INFO"]
        self.client.force_login(create_user("ada", admin_of=[self.acme]))
        self.assertRedirects(self.client.get(url), "/admin/")
        self.assertEqual(self.client.get(IMPORTS).status_code, 403)

    def test_an_organization_that_was_deleted_is_named_by_its_id(self):
        url = self.import_file("name\nNew\n").request["PATH_INFO"]
        new = Organization.objects.get(name="New")
        pk = new.pk
        new.delete()
        self.assertContains(self.client.get(url), f"ID {pk}, archived or deleted")


class PartTests(TestCase):
    def test_items_come_back_in_order_and_by_page(self):
        stored = Import.objects.create(actor_key=1)
        writer = PartWriter(ImportPart.Kind.PREVIEW)
        numbers = list(range(2 * ITEMS_PER_PART + 7))
        for number in numbers:
            writer.add(number)
        writer.save(stored)
        items = PartList(stored, ImportPart.Kind.PREVIEW)
        self.assertEqual(len(items), len(numbers))
        self.assertEqual(list(items), numbers)
        for start, stop in (
            (0, 5),
            (ITEMS_PER_PART - 2, ITEMS_PER_PART + 2),
            (2 * ITEMS_PER_PART, 3 * ITEMS_PER_PART),
        ):
            self.assertEqual(items[start:stop], numbers[start:stop])

    def test_a_part_can_have_what_is_no_text(self):
        items = [["\udcff", "ü", None]]
        stored = Import.objects.create(actor_key=1)
        stored.parts.create(kind="records", number=0, content=ImportPart.pack(items))
        self.assertEqual(stored.parts.get().read_items(), items)
