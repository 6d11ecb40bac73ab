"""Importing the rows without problems, and getting the others back as a file."""

import csv
import io
import re
import tempfile
from pathlib import Path
from unittest import mock

from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import TestCase, tag

from orgadmin.models import AuditEvent, Import, Organization
from orgadmin.models.guards import LastAdminError
from orgadmin.people import archive
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import ImportRefused, import_organizations
from orgadmin.records.imports.workbooks import read_workbook

from .factories import as_file, create_organization, create_user
from .import_corpus.workbook_files import make_workbook
from .test_import_export import IMPORT
from .test_stored_imports import StoredCase

FILE = (
    "reference,name,email,admins\n"
    "R1,Acme,a@example.com,\n"
    "R2,Wrong,nobody,\n"
    "R3,New,b@example.com,\n"
    "R1,Twice,,\n"
    "R4,=Unknown,,who@example.com\n"
)
PARTIAL = ImportOptions(leaves_out_problems=True)


def read_file(content):
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


class EngineTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme", reference="R1")

    def test_imports_the_valid_rows_and_returns_the_others(self):
        report = import_organizations(as_file(FILE), options=PARTIAL)
        self.assertEqual((report.created, report.changed), (1, 1))
        self.assertEqual([row.line for row in report.rejected], [3, 5, 6])
        self.assertEqual(
            set(Organization.objects.values_list("name", flat=True)),
            {
                "Acme",
                "New",
            },
        )
        [email, twice, unknown] = [row.list_cells()[-1] for row in report.rejected]
        self.assertIn("Enter a valid email address.", email)
        self.assertNotIn("line", email)
        self.assertIn("Line 2 already has this reference", twice)
        self.assertIn("Nobody has this email address", unknown)

    def test_refuses_everything_unless_it_is_told_to_leave_rows_out(self):
        with self.assertRaises(ImportRefused) as caught:
            import_organizations(as_file(FILE))
        self.assertEqual(caught.exception.valid_rows, 2)
        self.assertEqual(Organization.objects.count(), 1)

    def test_refuses_a_file_that_cannot_be_read_to_its_end(self):
        with self.assertRaises(ImportRefused) as caught:
            import_organizations(as_file('name\nNew\n"open\n'), options=PARTIAL)
        self.assertEqual(caught.exception.valid_rows, 0)
        self.assertFalse(Organization.objects.filter(name="New").exists())

    def test_a_dry_run_changes_nothing(self):
        report = import_organizations(as_file(FILE), options=PARTIAL, dry_run=True)
        self.assertEqual(len(report.rejected), 3)
        self.assertEqual(Organization.objects.count(), 1)

    @tag("A41")
    def test_leaves_out_what_the_person_may_not_change(self):
        create_organization("Foreign", reference="R3")
        ada = create_user("ada", admin_of=[self.acme])
        text = "reference,name\nR1,Mine\nR3,Taken over\n"
        report = import_organizations(as_file(text), actor=ada, options=PARTIAL)
        self.assertEqual(report.changed, 1)
        names = set(Organization.objects.values_list("name", flat=True))
        self.assertEqual(names, {"Mine", "Foreign"})
        [rejected] = report.rejected
        self.assertIn("You cannot create organizations.", rejected.list_cells()[-1])

    @tag("C9")
    def test_a_refused_batch_of_roles_refuses_the_whole_file(self):
        with (
            mock.patch(
                "orgadmin.records.imports.writing.give_roles",
                side_effect=LastAdminError([self.acme]),
            ),
            self.assertRaises(ImportRefused),
        ):
            import_organizations(as_file(FILE), options=PARTIAL)
        self.assertEqual(Organization.objects.count(), 1)


class PageTests(StoredCase):
    def leave_out(self, page):
        """Press the button on the page with problems."""
        url = page.request["PATH_INFO"]
        data = {"leaves_out_problems": "on", "preview": "1"}
        return self.client.post(url, data, follow=True)

    def test_offers_to_import_the_valid_rows(self):
        page = self.upload(FILE)
        self.assertContains(page, "Preview import of the 2 valid rows")
        preview = self.leave_out(page)
        self.assertContains(preview, "Leave out 3 rows with problems")
        self.assertContains(preview, "Line 2 already has this reference")
        self.assertEqual(Organization.objects.count(), 1)
        done = self.confirm(preview, leaves_out_problems="on")
        self.assertContains(done, "1 organization was created.")
        self.assertContains(done, "3 rows were not imported")
        self.assertEqual(Organization.objects.count(), 2)

    def test_gives_the_others_back_as_a_file_that_can_be_imported(self):
        preview = self.leave_out(self.upload(FILE))
        done = self.confirm(preview, leaves_out_problems="on")
        url = done.request["PATH_INFO"].replace("overview", "left_out")
        content = self.client.get(url).getvalue()
        rows = read_file(content)
        self.assertEqual(rows[0], ["reference", "name", "email", "admins", "Problem"])
        self.assertEqual(rows[1][:4], ["R2", "Wrong", "nobody", ""])
        self.assertEqual(rows[3][1], "'=Unknown")
        event = AuditEvent.objects.filter(event="exported").latest("pk")
        self.assertEqual(event.details["content"], "rows of an import")
        corrected = content.decode("utf-8-sig").replace("nobody", "c@example.com")
        page = self.upload(corrected)
        self.assertContains(page, "Preview import of the 2 valid rows")
        page = self.leave_out(page)
        done = self.confirm(page, leaves_out_problems="on")
        url = done.request["PATH_INFO"].replace("overview", "left_out")
        rows = read_file(self.client.get(url).getvalue())
        self.assertEqual(rows[0], ["reference", "name", "email", "admins", "Problem"])
        self.assertEqual([row[0] for row in rows[1:]], ["R4"])

    def test_gives_rows_of_a_workbook_back_as_a_workbook(self):
        rows = [["name", "email"], ["Good", ""], ["007", "nobody"]]
        file = SimpleUploadedFile("book.xlsx", make_workbook({"A": rows}))
        page = self.client.post(IMPORT, {"file": file}, follow=True)
        preview = self.leave_out(page)
        url = preview.request["PATH_INFO"].replace("overview", "left_out")
        content = io.BytesIO(self.client.get(url).getvalue())
        sheet = read_workbook(content, "", max_rows=10, max_text=10_000)
        [header, row] = [record.cells for record in sheet.records]
        self.assertEqual(header, ["name", "email", "Problem"])
        self.assertEqual(row[0], "007")

    def test_offers_nothing_if_no_row_is_valid(self):
        for text in ("name,email\nNew,x\n", "colour\nred\n", 'name\nNew\n"open\n'):
            page = self.upload(text)
            self.assertNotContains(page, "valid row")
            self.assertContains(page, "Nothing was imported.")

    def test_keeps_other_choices(self):
        page = self.upload("name,email\nAcme,x\nNew,\n", matches_names="on")
        self.assertContains(page, 'name="matches_names" value="True"')

    @tag("C32")
    def test_rows_that_become_invalid_are_shown_before_they_are_left_out(self):
        preview = self.leave_out(self.upload(FILE))
        other = create_organization("Other", reference="R3")
        archive.archive([other.pk], actor=self.root)
        response = self.confirm(preview, leaves_out_problems="on")
        self.assertContains(response, "Nothing was imported yet.")
        self.assertContains(response, "Leave out 4 rows with problems")

    @tag("A41")
    def test_the_file_of_someone_else_that_waits_is_missing(self):
        preview = self.leave_out(self.upload(FILE))
        url = preview.request["PATH_INFO"].replace("overview", "left_out")
        self.client.force_login(create_user("ada", admin_of=[self.acme]))
        self.assertRedirects(self.client.get(url), "/admin/")

    def test_problems_are_kept_until_the_rows_are_deleted(self):
        preview = self.leave_out(self.upload(FILE))
        self.confirm(preview, leaves_out_problems="on")
        kinds = set(Import.objects.get().parts.values_list("kind", flat=True))
        self.assertEqual(kinds, {"changes", "problems"})


class CommandTests(TestCase):
    def run_command(self, *arguments):
        out = io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "file.csv")
            file.write_text(FILE)
            rest = Path(folder, "rest.csv")
            arguments = [re.sub("^REST$", str(rest), each) for each in arguments]
            call_command("import_organizations", str(file), *arguments, stdout=out)
            content = rest.read_bytes() if rest.exists() else None
        return out.getvalue(), content

    def test_writes_the_rows_with_problems_to_a_file(self):
        text, content = self.run_command("--partial", "REST")
        self.assertIn("2 created", text)
        self.assertIn("Rows with problems: 3 left out.", text)
        rows = read_file(content)
        self.assertEqual(rows[0][-1], "Problem")
        self.assertEqual([row[0] for row in rows[1:]], ["R2", "R1", "R4"])

    def test_a_dry_run_writes_no_file(self):
        text, content = self.run_command("--partial", "REST", "--dry-run")
        self.assertIn("Rows with problems: 3 would be left out.", text)
        self.assertIsNone(content)
        self.assertFalse(Organization.objects.exists())

    def test_says_so_if_the_file_cannot_be_written(self):
        with self.assertRaisesMessage(CommandError, "cannot be written"):
            self.run_command("--partial", "/nowhere/rest.csv")
