"""A dry run says what the import does, without writing most of it."""

from unittest import mock

from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext

from orgadmin.records.imports import dry_run as import_dry_run
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import import_organizations

from .factories import as_file, create_organization, create_user, id_cells
from .test_stored_imports import StoredCase

ACCEPTING = ImportOptions(accepts_warnings=True)


def run(text, options=ACCEPTING, **arguments):
    """Return what each row does, the numbers of all rows, and the warnings."""
    rows = []
    report = import_organizations(
        as_file(text),
        options=options,
        on_row=lambda row: rows.append((row.line, str(row.organization), row.effects)),
        **arguments,
    )
    numbers = (report.created, report.changed, report.unchanged, report.people)
    return rows, numbers, [str(warning) for warning in report.warnings]


class AgreementTests(TestCase):
    """The dry run and the import agree, no matter how the file is split."""

    def setUp(self):
        self.acme = create_organization("Acme", reference="R1", phone="1")
        self.beta = create_organization("Beta", reference="70", email="a@beta.com")
        anna = create_user("anna", email="anna@example.com")
        anna.verify_email()

    def assert_agrees(self, text, options=ACCEPTING):
        with mock.patch("orgadmin.records.batches.BATCH", 2):
            planned = run(text, options, dry_run=True)
            done = run(text, options)
        self.assertEqual(planned, done)
        return done

    def test_about_new_changed_and_unchanged_rows_and_people(self):
        _rows, numbers, _warnings = self.assert_agrees(
            "reference,name,phone,admins\n"
            "R1,Acme,2,\n"
            "70,Beta,,\n"
            "R3,New,3,anna@example.com\n"
            "R4,Other,4,\n"
            "R5,Third,,\n"
        )
        self.assertEqual(numbers, (3, 1, 1, 1))

    def test_about_groups_of_organizations_with_the_same_name(self):
        rows, _numbers, _warnings = self.assert_agrees("name\n" + "Acme\n" * 7)
        self.assertIn("“Acme 7 Admin”", rows[-1][2][0])

    def test_about_references_that_are_almost_the_same(self):
        _rows, _numbers, warnings = self.assert_agrees(
            "reference,name\n007,A\n8,B\n9,C\n10,D\n7,E\n070,F\n"
        )
        self.assertEqual(len(warnings), 2)

    def test_about_rows_that_resemble_what_an_earlier_row_makes_of_another(self):
        _rows, _numbers, warnings = self.assert_agrees(
            f"id,id_key,reference,name,email\n{id_cells(self.acme.pk)},R2,Gamma,\n"
            f"{id_cells(self.beta.pk)},70,Beta,b@delta.com\n"
            ",,,Gamma,\n,,,Beta Ltd,c@delta.com\n,,2,Eta,\n"
        )
        self.assertEqual(len(warnings), 2)

    def test_about_rows_that_are_matched_by_their_names(self):
        _rows, numbers, _warnings = self.assert_agrees(
            "name,phone\nAcme,3\nNew,4\nNewer,5\n",
            ImportOptions(accepts_warnings=True, matches_names=True),
        )
        self.assertEqual(numbers, (2, 1, 0, 0))


class CostTests(TestCase):
    def test_writes_neither_new_rows_nor_fields_that_no_other_row_looks_at(self):
        create_organization("Acme", reference="R1", phone="1")
        text = "reference,name,phone\nR1,Acme,2\n" + ",New,\n" * 50
        with CaptureQueriesContext(
            connection,
        ) as captured:
            run(text, dry_run=True)
        written = [
            query["sql"]
            for query in captured
            if query["sql"].startswith(("INSERT", "UPDATE"))
            and "orgadmin_auditevent" not in query["sql"]
        ]
        self.assertEqual(written, [])

    def test_writes_what_later_rows_are_compared_with(self):
        for field, value in (("name", "New"), ("reference", "R2"), ("tax_id", "1")):
            row = mock.Mock(is_new=False, people=[], old_values={field: value})
            self.assertTrue(import_dry_run.must_write(row), field)


class SameNameTests(StoredCase):
    @tag("E15")
    def test_many_organizations_with_one_name_can_be_imported(self):
        # The numbers of their groups are random, and say nothing about the rows.
        preview = self.upload("name\n" + "Branch\n" * 120)
        self.assertContains(preview, "Create 120 organizations")
        response = self.confirm(preview)
        self.assertContains(response, "120 organizations were created.")
