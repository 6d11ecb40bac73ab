"""Importing people in the browser, and exporting the list of them."""

import io
import re
from datetime import timedelta
from unittest import mock

from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import tag
from django.test.utils import CaptureQueriesContext
from python_calamine import CalamineWorkbook

from orgadmin.models import (
    AuditEvent,
    ColumnMapping,
    Import,
    Invitation,
    Membership,
    Organization,
    User,
)
from orgadmin.people.ends import find_today
from orgadmin.records.imports.options import Limits
from tests.import_corpus.workbook_files import make_workbook
from tests.mailing import queues_mail, work

from .factories import ADMIN, create_organization, create_user
from .test_import_export import IMPORT, file_of
from .test_stored_imports import IMPORTS, StoredCase

PEOPLE_IMPORT = "/admin/orgadmin/user/import/"
EXPORT = "/admin/orgadmin/user/export/"
WORKBOOK = "/admin/orgadmin/user/export/xlsx/"
LIST = "/admin/orgadmin/user/"

DAY = find_today() + timedelta(days=40)


class PeoplePageCase(StoredCase):
    def setUp(self):
        super().setUp()
        self.boss = create_user("boss", email="boss@example.com", admin_of=[self.acme])
        self.mary = create_user(
            "mary", email="mary@example.com", first_name="Mary", last_name="Miller"
        )

    def upload(self, text, **data):
        file = file_of(text)
        file.name = "people.csv"
        data = {"file": file, **data}
        return self.client.post(PEOPLE_IMPORT, data, follow=True)

    def is_member(self, user, role=ADMIN):
        group = getattr(self.acme, role.key)
        return Membership.objects.current().filter(user=user, group=group).exists()


class ImportTests(PeoplePageCase):
    TEXT = f"email,reference,role,until\nmary@example.com,R1,admin,{DAY}\n"

    def test_shows_a_preview_and_imports_it_once_confirmed(self):
        preview = self.upload(self.TEXT)
        for text in (
            "Nothing was imported yet",
            "Give 1 person a role",
            "mary@example.com, Acme",
            "role: “Admin”",
            f"until: “{DAY}”",
            "Import people",
        ):
            self.assertContains(preview, text)
        self.assertNotContains(preview, "Create 0 organizations")
        self.assertFalse(self.is_member(self.mary))
        done = self.confirm(preview)
        self.assertContains(done, "1 person was given a role.")
        self.assertNotContains(done, "0 people were invited.")
        self.assertContains(done, "Mary Miller (mary@example.com): Admin, until")
        self.assertTrue(self.is_member(self.mary))
        stored = Import.objects.get()
        self.assertEqual((stored.subject, stored.state), ("people", "done"))
        self.assertContains(self.client.get(IMPORTS), "People")

    def test_invites_if_the_person_chose_so(self):
        text = self.TEXT.replace("mary", "new")
        refused = self.upload(text)
        self.assertContains(refused, "Nobody has this email address")
        preview = self.upload(text, send_mail="on")
        self.assertContains(preview, "is invited")
        self.assertContains(preview, "enter their name themselves")
        self.assertContains(self.confirm(preview), "new@example.com was invited")
        self.assertEqual(Invitation.objects.get().email, "new@example.com")

    def test_invitations_can_be_chosen_after_the_upload(self):
        text = self.TEXT.replace("mary", "new")
        refused = self.upload(text)
        self.assertContains(refused, "choose “Send emails”")
        preview = self.press(refused, "preview", send_mail="on")
        self.assertContains(preview, "Invite 1 person")
        # Another look, without this choice, keeps it.
        preview = self.press(preview, "preview")
        self.assertContains(preview, "Invite 1 person")
        # A browser does not send a box that is not ticked.
        refused = self.press(preview, "preview", send_mail_shown="1")
        self.assertContains(refused, "Nobody has this email address")
        data = {"send_mail": "on", "send_mail_shown": "1"}
        preview = self.press(refused, "preview", **data)
        self.assertContains(self.confirm(preview), "new@example.com was invited")

    def test_a_choice_that_the_preview_does_not_show_imports_nothing(self):
        preview = self.upload(self.TEXT)
        preview = self.confirm(preview, send_mail="on")
        self.assertContains(preview, "Nothing was imported yet")
        self.assertFalse(self.is_member(self.mary))
        with self.captureOnCommitCallbacks(execute=True):
            self.confirm(preview)
        self.assertTrue(self.is_member(self.mary))
        self.assertEqual(mail.outbox[0].to, ["mary@example.com"])

    def test_no_id_is_on_the_page_with_problems_twice(self):
        page = self.upload(f"{self.TEXT}new@example.com,R1,admin,\n")
        ids = re.findall(r' id="(\w+)"', page.text)
        self.assertIn("id_send_mail", ids)
        self.assertEqual(len(ids), len(set(ids)))

    def press(self, page, button, **data):
        url = page.request["PATH_INFO"]
        return self.client.post(url, {button: "1", **data}, follow=True)

    @tag("C32")
    def test_imports_nothing_that_was_not_shown(self):
        preview = self.upload(self.TEXT)
        self.give_role(self.mary)
        response = self.confirm(preview)
        self.assertContains(response, "something has changed in the meantime")
        self.assertContains(response, "Change the last day of 1 person")

    def give_role(self, user):
        user.groups.add(self.acme.admin)

    def test_can_be_undone(self):
        preview = self.upload(
            f"{self.TEXT}new@example.com,R1,reviewer,\n", send_mail="on"
        )
        url = self.confirm(preview).request["PATH_INFO"].replace("overview", "undo")
        page = self.client.get(url)
        self.assertContains(page, "Restored: 1 role")
        self.assertContains(page, "Revoked: 1 invitation")
        self.confirm(page)
        self.assertFalse(self.is_member(self.mary))
        self.assertFalse(Invitation.objects.exists())
        self.assertEqual(Import.objects.get().state, "undone")

    def test_undoing_puts_back_the_former_role_and_its_end(self):
        self.upload_and_confirm(self.TEXT)
        before = Membership.objects.get(user=self.mary)
        text = "email,reference,role,until\nmary@example.com,R1,reviewer,none\n"
        page = self.upload_and_confirm(text, accepts_warnings="on")
        url = page.request["PATH_INFO"].replace("overview", "undo")
        self.confirm(self.client.get(url))
        after = Membership.objects.get(user=self.mary)
        self.assertEqual((after.group, after.ends_at), (before.group, before.ends_at))

    def upload_and_confirm(self, text, **data):
        return self.confirm(self.upload(text), **data)

    @tag("C9")
    def test_the_last_admin_stays_also_if_the_warning_is_accepted(self):
        text = "email,reference,role\nboss@example.com,R1,reviewer\n"
        self.assertContains(self.upload(text), "without an active admin")
        self.assertTrue(self.is_member(self.boss))

    def test_rows_with_problems_come_back_as_a_file(self):
        page = self.upload(f"{self.TEXT}mary@example.com,R9,admin,\n")
        self.assertContains(page, "No organization has this reference")
        url = page.request["PATH_INFO"]
        data = {"leaves_out_problems": "on", "preview": "1"}
        preview = self.client.post(url, data, follow=True)
        self.confirm(preview, leaves_out_problems="on")
        self.assertTrue(self.is_member(self.mary))
        rest = self.client.get(url.replace("overview", "left_out"))
        text = b"".join(rest.streaming_content).decode()
        self.assertIn("email,reference,role,until,Problem", text)
        self.assertIn("mary@example.com,R9,admin,,", text)

    def test_organizations_can_be_matched_by_name_afterwards(self):
        page = self.upload("email,Company,role\nmary@example.com,Acme,admin\n")
        self.assertContains(page, "let the import match organizations by name")
        data = {"matches_names": "on", "preview": "1"}
        preview = self.client.post(page.request["PATH_INFO"], data, follow=True)
        self.assertContains(preview, "mary@example.com, Acme")

    def test_columns_can_be_chosen_and_saved_for_files_of_people(self):
        page = self.upload("Wer,reference,Was\nmary@example.com,R1,admin\n")
        self.assertContains(page, "There is no column “email”")
        columns = {"column_0": "email", "column_1": "reference", "column_2": "role"}
        data = {**columns, "save_as": "Mine", "save_columns": "1"}
        preview = self.client.post(page.request["PATH_INFO"], data, follow=True)
        self.assertContains(preview, "Give 1 person a role")
        self.assertEqual(ColumnMapping.objects.get().subject, "people")
        # Files of organizations have other columns.
        page = self.client.post(IMPORT, {"file": file_of("name\nNew\n")}, follow=True)
        self.assertNotContains(page, "Mine")
        data = {"save_as": "Mine", "save_columns": "1"}
        page = self.client.post(page.request["PATH_INFO"], data, follow=True)
        self.assertContains(page, "is used for the columns of another kind of file")

    def test_saved_columns_can_be_chosen_with_the_file(self):
        self.assertNotContains(self.client.get(PEOPLE_IMPORT), "Saved columns")
        fields = {"Wer": "email", "Wo": "reference", "Was": "role", "Alt": "until"}
        people = ColumnMapping.objects.create(
            name="Mine", subject="people", fields=fields
        )
        others = ColumnMapping.objects.create(name="Theirs", fields={"Wer": "name"})
        page = self.client.get(PEOPLE_IMPORT)
        self.assertContains(page, "Saved columns")
        self.assertContains(page, "Mine")
        self.assertNotContains(page, "Theirs")
        text = "WER,Wo,Was,Wie\nmary@example.com,R1,admin,x\n"
        preview = self.upload(text, saved=people.pk)
        self.assertContains(preview, "Give 1 person a role")
        self.assertContains(preview, "Ignored columns: Wie")
        self.confirm(preview)
        self.assertTrue(self.is_member(self.mary))
        self.assertContains(self.upload(text, saved=others.pk), "valid choice")

    def test_saved_columns_are_offered_first_in_a_preview(self):
        ColumnMapping.objects.create(name="Mine", subject="people", fields={})
        page = self.upload(self.TEXT).text
        self.assertLess(page.index("Use saved columns"), page.index("<details"))

    @tag("A41")
    def test_is_for_superusers(self):
        staff = create_user(
            "staff",
            is_staff=True,
            permissions=["view_user", "change_user", "add_user", "view_organization"],
        )
        for user in (self.boss, staff):
            self.client.force_login(user)
            for url in (PEOPLE_IMPORT, EXPORT, WORKBOOK):
                self.assertEqual(self.client.get(url).status_code, 403)
            self.assertEqual(self.upload(self.TEXT).status_code, 403)
            self.assertNotContains(self.client.get("/admin/"), PEOPLE_IMPORT)
        self.assertFalse(Import.objects.exists())

    def test_costs_the_same_queries_for_any_number_of_rows(self):
        counts = []
        for numbers in (range(2), range(2, 42)):
            User.objects.bulk_create(
                User(username=f"p{number}", email=f"p{number}@example.com")
                for number in numbers
            )
            lines = [f"p{number}@example.com,R1,reviewer" for number in numbers]
            text = "email,reference,role\n" + "\n".join(lines)
            url = self.upload_and_confirm(text).request["PATH_INFO"]
            with CaptureQueriesContext(connection) as queries:
                self.client.get(url)
            counts.append(len(queries))
        self.assertEqual(*counts)


@queues_mail()
class WorkerTests(PeoplePageCase):
    def setUp(self):
        super().setUp()
        self.root.email = "root@example.com"
        self.root.save()
        self.client.force_login(self.root)
        limits = Limits(rows=1, size=10_000)
        for module in ("records.import_jobs", "admin.imports.import_export"):
            patch = mock.patch(f"orgadmin.{module}.REQUEST_LIMITS", limits)
            patch.start()
            self.addCleanup(patch.stop)

    def test_a_worker_imports_a_large_file_and_says_so(self):
        text = (
            "email,reference,role\n"
            "mary@example.com,R1,admin\n"
            "new@example.com,R1,reviewer\n"
        )
        url = self.upload(text, send_mail="on").request["PATH_INFO"]
        work()
        preview = self.client.get(url)
        self.assertContains(preview, "Give 1 person a role")
        self.confirm(preview)
        self.assertFalse(self.is_member(self.mary))
        work()
        self.assertTrue(self.is_member(self.mary))
        self.assertContains(self.client.get(url), "1 person was given a role.")
        bodies = {message.to[0]: message.body for message in mail.outbox}
        self.assertIn("new@example.com", bodies)
        body = " ".join(bodies["root@example.com"].split())
        self.assertIn("1 person was given a role. 1 person was invited.", body)
        self.assertNotIn("organizations were", body)
        # Recent activity has one entry.
        home = self.client.get("/admin/")
        self.assertContains(home, "1 person got a role, 1 person invited")


class RecognitionTests(PeoplePageCase):
    def test_a_file_of_people_is_imported_as_such_without_another_upload(self):
        text = "email,first_name,reference,role\nmary@example.com,Mary,R1,admin\n"
        page = self.client.post(IMPORT, {"file": file_of(text)}, follow=True)
        self.assertContains(page, "This is a file of people")
        page = self.press(page, "subject", "people")
        self.assertContains(page, "Give 1 person a role")
        self.assertContains(self.confirm(page), "1 person was given a role.")
        stored = Import.objects.get()
        self.assertEqual((stored.subject, stored.state), ("people", "done"))

    def test_a_file_of_organizations_is_imported_as_such(self):
        page = self.upload("name,reference,admins\nNew,R7,mary@example.com\n")
        self.assertContains(page, "This is a file of organizations")
        page = self.press(page, "subject", "organizations")
        self.assertContains(page, "Create 1 organization")
        self.confirm(page)
        self.assertTrue(Organization.objects.filter(name="New").exists())

    def test_a_file_is_about_nothing_else(self):
        page = self.press(self.upload("name,admins\nNew,\n"), "subject", "anything")
        self.assertContains(page, "This is a file of organizations")
        self.assertEqual(Import.objects.get().subject, "people")

    def press(self, page, name, value):
        url = page.request["PATH_INFO"]
        return self.client.post(url, {name: value}, follow=True)

    def test_the_lists_lead_to_import_and_export(self):
        response = self.client.get(LIST)
        for url in (PEOPLE_IMPORT, EXPORT, WORKBOOK):
            self.assertContains(response, f'href="{url}')


class WorkbookTests(PeoplePageCase):
    def test_days_can_be_text_or_written_by_a_spreadsheet(self):
        day = DAY.strftime("%d.%m.%Y")
        rows = [
            ["E-Mail", "Kundennr.", "Rolle", "Bis"],
            ["mary@example.com", "R1", "Leser", day],
        ]
        content = make_workbook({"Leute": rows})
        file = SimpleUploadedFile("people.xlsx", content)
        page = self.client.post(PEOPLE_IMPORT, {"file": file}, follow=True)
        self.assertContains(page, f"until: “{DAY}”")


class ExportTests(PeoplePageCase):
    def read(self, url):
        return b"".join(self.client.get(url).streaming_content)

    def test_has_the_roles_of_the_people_in_the_list(self):
        text = self.read(EXPORT).decode()
        lines = text.splitlines()
        self.assertIn("email,first_name,last_name,organization_id", lines[0])
        [of_boss] = [line for line in lines if line.startswith("boss@example.com,")]
        self.assertIn(",R1,Acme,admin,", of_boss)
        filtered = self.read(f"{EXPORT}?q=mary").decode()
        self.assertIn("mary@example.com", filtered)
        self.assertNotIn("boss@example.com", filtered)

    @tag("G10")
    def test_is_recorded(self):
        self.read(f"{EXPORT}?q=mary")
        event = AuditEvent.objects.filter(event="exported").latest("pk")
        self.assertEqual(event.details, {"content": "people", "filters": ["q"]})

    def test_both_formats_change_nothing_when_they_are_imported(self):
        create_organization("Other", reference="007")
        self.mary.groups.add(self.acme.reviewer)
        before = list(Membership.objects.order_by("pk").values())
        workbook = self.read(WORKBOOK)
        sheet = CalamineWorkbook.from_filelike(io.BytesIO(workbook))
        self.assertEqual(len(sheet.get_sheet_by_index(0).to_python()), 3)
        for content in (self.read(EXPORT), workbook):
            file = SimpleUploadedFile("people.xlsx", content)
            page = self.client.post(PEOPLE_IMPORT, {"file": file}, follow=True)
            self.assertContains(page, "Leave 2 rows unchanged")
            self.assertContains(page, "This file would change nothing")
            self.assertNotContains(page, "Give 0 people a role")
            self.assertNotContains(page, 'value="Import people"')
        self.assertEqual(list(Membership.objects.order_by("pk").values()), before)
