"""Rows that resemble an organization: create another one, or change that one."""

import io
import tempfile

from django.core.management import CommandError, call_command
from django.test import TestCase, tag

from orgadmin.models import Import, Organization
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import ImportRefused, import_organizations

from .factories import as_file, create_organization, create_user
from .test_stored_imports import StoredCase

FILE = "name,phone\nAcme,2\nNew,3\n"


class EngineTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme", phone="1")
        self.hidden = create_organization("Hidden", phone="1")

    def run_import(self, text, targets, **arguments):
        options = ImportOptions(targets=targets)
        return import_organizations(as_file(text), options=options, **arguments)

    def test_the_chosen_row_changes_the_organization_and_keeps_its_name(self):
        report = self.run_import("name,phone\nACME Ltd,2\n", {"2": self.acme.pk})
        self.assertEqual((report.created, report.changed), (0, 1))
        self.assertEqual(report.warnings, [])
        self.acme.refresh_from_db()
        self.assertEqual((self.acme.name, self.acme.phone), ("Acme", "2"))

    def test_a_key_counts_more_than_the_choice(self):
        other = create_organization("Other", reference="R1")
        text = "reference,name,phone\nR1,Other,2\n"
        self.run_import(text, {"2": self.acme.pk})
        other.refresh_from_db()
        self.assertEqual(other.phone, "2")

    def test_two_rows_cannot_change_the_same_organization(self):
        with self.assertRaises(ImportRefused) as caught:
            self.run_import(FILE, {"2": self.acme.pk, "3": self.acme.pk})
        self.assertIn("already changes this", str(caught.exception.problems[0]))

    @tag("A41")
    def test_changes_nothing_that_the_person_may_not_change(self):
        admin = create_user("ada", admin_of=[self.acme])
        for pk in (self.hidden.pk, 880088):
            with self.assertRaises(ImportRefused) as caught:
                self.run_import("name,phone\nX,2\n", {"2": pk}, actor=admin)
            self.assertIn("cannot create", str(caught.exception.problems[0]))
        self.hidden.refresh_from_db()
        self.assertEqual(self.hidden.phone, "1")


class PageTests(StoredCase):
    def test_the_preview_offers_the_choice_for_each_possible_duplicate(self):
        preview = self.upload(FILE)
        self.assertContains(preview, "Possible duplicates")
        self.assertContains(preview, "Change “Acme”")
        self.assertNotContains(preview, 'name="target_3"')

    def test_a_row_changes_the_organization_if_the_person_chooses_so(self):
        target = {"target_2": str(self.acme.pk)}
        preview = self.confirm(self.upload(FILE), **target)
        self.assertContains(preview, "Change 1 organization")
        self.assertContains(preview, "phone: “1” → “2”")
        self.assertEqual(Organization.objects.count(), 1)
        # The choice is still offered, to take it back.
        back = self.confirm(preview, target_2="")
        self.assertContains(back, "Create 2 organizations")
        self.assertNotContains(back, "Change 1 organization")
        again = self.confirm(back, **target)
        self.confirm(again, **target)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "2")
        self.assertEqual(Organization.objects.count(), 2)
        self.assertEqual(Import.objects.get().state, "done")

    def test_offers_no_other_organization(self):
        other = create_organization("Other")
        response = self.confirm(self.upload(FILE), target_2=str(other.pk))
        self.assertEqual(response.status_code, 200)
        self.assertEqual(Import.objects.get().choices["targets"], {})


class CommandTests(TestCase):
    def call(self, *arguments):
        out = io.StringIO()
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(FILE)
            file.flush()
            call_command(
                "import_organizations", file.name, *arguments, stdout=out, stderr=out
            )
        return out.getvalue()

    def test_says_how_to_change_the_organization_and_does_it(self):
        acme = create_organization("Acme", phone="1")
        option = f"--update=2={acme.pk}"
        out = io.StringIO()
        with (
            tempfile.NamedTemporaryFile("w", suffix=".csv") as file,
            self.assertRaises(CommandError),
        ):
            file.write(FILE)
            file.flush()
            call_command("import_organizations", file.name, dry_run=True, stdout=out)
        self.assertIn(f"--update 2={acme.pk}", out.getvalue())
        self.call(option)
        acme.refresh_from_db()
        self.assertEqual(acme.phone, "2")

    def test_refuses_what_is_no_line_and_id(self):
        for text in ("2", "a=1", "2=", "=3"):
            with self.assertRaisesMessage(CommandError, "such as 12=345"):
                self.call(f"--update={text}")
