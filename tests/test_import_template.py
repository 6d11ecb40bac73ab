"""The templates that people fill in."""

import io

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, tag
from django.utils import translation

from orgadmin.models import Membership, Organization
from orgadmin.records.imports import template as import_template
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import import_organizations
from orgadmin.records.imports.people import import_people
from orgadmin.records.imports.template import ORGANIZATIONS, PEOPLE, write_template
from orgadmin.records.imports.workbooks import read_workbook
from orgadmin.records.xlsx_files import write_workbook

from .factories import as_file, create_organization, create_superuser, create_user

IMPORT = "/admin/orgadmin/organization/import/"
TEMPLATE = f"{IMPORT}template/"
PEOPLE_IMPORT = "/admin/orgadmin/user/import/"
PEOPLE_TEMPLATE = f"{PEOPLE_IMPORT}template/"

COLUMNS = ORGANIZATIONS.columns


def read(content, sheet=""):
    sheet = read_workbook(io.BytesIO(content), sheet, max_rows=100, max_text=100_000)
    return [record.cells for record in sheet.records]


class TemplateTests(TestCase):
    def setUp(self):
        self.root = create_superuser()
        self.client.force_login(self.root)

    def download(self):
        response = self.client.get(TEMPLATE)
        self.assertIn(".xlsx", response["Content-Disposition"])
        return response.getvalue()

    def fill_in(self, rows, *, with_example=True):
        """Return the template with more rows."""
        template = read(self.download())
        kept = template if with_example else template[:1]
        file = io.BytesIO()
        write_workbook(file, [*kept, *rows], "Organizations")
        return file

    def test_has_the_columns_an_example_and_an_explanation_of_each_column(self):
        content = self.download()
        header, example = read(content)
        self.assertEqual(header, list(COLUMNS))
        self.assertEqual(example[header.index("reference")], "00042")
        explained = read(content, "2")
        self.assertEqual([row[0] for row in explained[1:]][: len(header)], header)
        self.assertEqual(set(ORGANIZATIONS.explanations), set(header))

    def test_imports_what_people_fill_in_without_the_example(self):
        rows = [["New", "007"], ["Other", "008"]]
        for with_example in (True, False):
            file = self.fill_in(rows, with_example=with_example)
            report = import_organizations(file, dry_run=True)
            self.assertEqual(report.created, 2)
            self.assertEqual(report.ignored, [])
            self.assertEqual(report.warnings, [])
            self.assertEqual(len(report.skipped), with_example)
        import_organizations(self.fill_in(rows))
        names = Organization.objects.values_list("name", "reference")
        self.assertEqual(sorted(names), [("New", "007"), ("Other", "008")])

    def test_the_preview_says_that_the_example_is_skipped(self):
        content = self.fill_in([["New"]]).getvalue()
        file = SimpleUploadedFile("template.xlsx", content)
        response = self.client.post(IMPORT, {"file": file}, follow=True)
        self.assertContains(response, "is the example row of the template")
        self.assertContains(response, "Create 1 organization")

    def test_an_example_that_was_written_over_is_imported(self):
        header, example = read(self.download())
        example[0] = "Real"
        example = example[: header.index("admins")]
        file = io.BytesIO()
        write_workbook(file, [header, example], "Organizations")
        import_organizations(file)
        self.assertEqual(Organization.objects.get().reference, "00042")

    def test_the_example_is_recognized_in_every_language_and_with_all_choices(self):
        names = {"en": "An example", "de": "Ein Beispiel"}
        lazy = import_template.EXAMPLE_NAME

        class Translated:
            def __str__(self):
                return names.get(translation.get_language(), str(lazy))

        import_template.list_example_names.cache_clear()
        self.addCleanup(import_template.list_example_names.cache_clear)
        import_template.EXAMPLE_NAME = Translated()
        self.addCleanup(setattr, import_template, "EXAMPLE_NAME", lazy)
        text = "name\nAn example\nEin Beispiel\nReal\n"
        for options in (ImportOptions(), ImportOptions(keeps_totals=True)):
            report = import_organizations(as_file(text), options=options, dry_run=True)
            self.assertEqual(report.created, 1)

    def test_is_written_in_the_language_of_the_reader(self):
        with translation.override("de"):
            file = io.BytesIO()
            write_template(file, ORGANIZATIONS)
        self.assertEqual(read(file.getvalue())[0], list(COLUMNS))

    def test_the_import_page_links_to_it_once(self):
        self.assertContains(self.client.get(IMPORT), f'href="{TEMPLATE}"', 1)

    @tag("A41")
    def test_is_for_superusers(self):
        acme = create_organization("Acme")
        for user in (
            create_user("a", admin_of=[acme]),
            create_user("s", is_staff=True),
        ):
            self.client.force_login(user)
            self.assertEqual(self.client.get(TEMPLATE).status_code, 403)


class PeopleTemplateTests(TestCase):
    def setUp(self):
        self.root = create_superuser()
        self.client.force_login(self.root)
        self.acme = create_organization("Acme", reference="R1")
        self.mary = create_user("mary", email="mary@example.com")

    def download(self):
        response = self.client.get(PEOPLE_TEMPLATE)
        self.assertIn(".xlsx", response["Content-Disposition"])
        return response.getvalue()

    def fill_in(self, *, with_example=True):
        """Return the template with a role for Mary."""
        template = read(self.download())
        kept = template if with_example else template[:1]
        file = io.BytesIO()
        rows = [["mary@example.com", "R1", "Acme", "reviewer", "2990-12-31"]]
        write_workbook(file, [*kept, *rows], "People")
        return file

    def test_has_the_columns_an_example_and_an_explanation_of_each_column(self):
        content = self.download()
        header, example = read(content)
        self.assertEqual(header, list(PEOPLE.columns))
        self.assertEqual(example[header.index("role")], "reviewer")
        explained = read(content, "2")
        self.assertEqual([row[0] for row in explained[1:]][: len(header)], header)
        self.assertEqual(set(PEOPLE.explanations), set(header))

    def test_imports_what_people_fill_in_without_the_example(self):
        for with_example in (True, False):
            file = self.fill_in(with_example=with_example)
            report = import_people(file, actor=self.root, dry_run=True)
            self.assertEqual(report.people, 1)
            self.assertEqual((report.ignored, report.warnings), ([], []))
            self.assertEqual(len(report.skipped), with_example)
        import_people(self.fill_in(), actor=self.root)
        membership = Membership.objects.get(user=self.mary)
        self.assertEqual(membership.group, self.acme.reviewer)
        self.assertIsNotNone(membership.ends_at)

    def test_the_preview_says_that_the_example_is_skipped(self):
        file = SimpleUploadedFile("people.xlsx", self.fill_in().getvalue())
        response = self.client.post(PEOPLE_IMPORT, {"file": file}, follow=True)
        self.assertContains(response, "is the example row of the template")
        self.assertContains(response, "Give 1 person a role")

    def test_an_example_that_was_written_over_is_imported(self):
        header, example = read(self.download())
        example[:3] = ["mary@example.com", "R1", ""]
        file = io.BytesIO()
        write_workbook(file, [header, example], "People")
        report = import_people(file, actor=self.root)
        self.assertEqual((report.people, report.skipped), (1, []))

    def test_is_written_in_the_language_of_the_reader(self):
        with translation.override("de"):
            file = io.BytesIO()
            write_template(file, PEOPLE)
        report = import_people(file, actor=self.root)
        self.assertEqual((len(report.skipped), report.ignored), (1, []))

    def test_the_import_page_links_to_it(self):
        response = self.client.get(PEOPLE_IMPORT)
        self.assertContains(response, f'href="{PEOPLE_TEMPLATE}"')

    @tag("A41")
    def test_is_for_superusers(self):
        staff = create_user(
            "s", is_staff=True, permissions=["view_user", "change_user", "add_user"]
        )
        for user in (create_user("a", admin_of=[self.acme]), staff):
            self.client.force_login(user)
            self.assertEqual(self.client.get(PEOPLE_TEMPLATE).status_code, 403)
