"""The import of organizations, without the page: what it reads, does and refuses."""

import io

from django.contrib.auth.models import Group
from django.db import connection
from django.test import TestCase, tag

from orgadmin.models import Organization
from orgadmin.records.imports.existing_duplicates import MAX_AT_DOMAIN, DuplicateFinder
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import ImportRefused, import_organizations
from orgadmin.records.imports.planning import PlannedRow
from orgadmin.records.imports.problems import WarningsRefused

from .factories import create_organization, create_superuser, create_user, id_cells


def run(text, encoding="utf-8", **options):
    return import_organizations(io.BytesIO(text.encode(encoding)), **options)


class ImportTests(TestCase):
    def test_creates_organizations_with_groups(self):
        report = run("name,phone\nAcme,1\nAcme,2\n")
        self.assertEqual(report.created, 2)
        self.assertEqual(report.changed, 0)
        self.assertIs(report.has_key, False)
        groups = Group.objects.filter(name__in=["Acme Admin", "Acme 1 Admin"])
        self.assertEqual(groups.count(), 2)

    def test_knows_titles_that_people_write(self):
        report = run(
            "Organization Name;Organization_Address;E-Mail;VAT number;Web site;"
            "Telephone;Colour\n"
            "Ä;B;c@d.de;1;;2;red"
        )
        self.assertEqual(report.ignored, ["Colour"])
        values = Organization.objects.values(
            "name", "address", "email", "tax_id", "website", "phone"
        ).get()
        self.assertEqual(list(values.values()), ["Ä", "B", "c@d.de", "1", "", "2"])

        report = run("Company,Web,Phone number\nX,x.example,3\n")
        self.assertEqual(report.ignored, [])
        organization = Organization.objects.get(name="X")
        self.assertEqual(organization.website, "https://x.example")

    def test_reads_what_spreadsheets_write(self):
        texts = [
            "name,address\nAcme,Here\n",
            "\ufeffname,address\r\nAcme,Here\r\n",
            '\ufeff"name";"address"\r\n"Acme";"Here"\r\n\r\n;\r\n',
            "name\taddress\nAcme\tHere",
            ' name , address \n  Acme ,"Here"\n',
        ]
        for text in texts:
            with self.subTest(text=text):
                Organization.objects.all().delete()
                self.assertEqual(run(text).created, 1)
                organization = Organization.objects.get()
                self.assertEqual(organization.name, "Acme")
                self.assertEqual(organization.address, "Here")

    def test_reads_quoted_line_breaks(self):
        run('name,address\n"Acme","Street 1\n12345 Town"\n')
        self.assertEqual(Organization.objects.get().address, "Street 1\n12345 Town")

    def test_matches_by_id_and_then_by_reference(self):
        acme = create_organization("Acme", reference="R1", phone="1")
        create_organization("Other", reference="R2", phone="2")
        report = run(
            "id,id_key,reference,name,phone\n"
            f"{id_cells(acme.pk)},R1,Acme new,3\n"
            ",,R2,Other,2\n"
            ",,R3,Third,\n"
        )
        self.assertEqual(report.created, 1)
        self.assertEqual(report.changed, 1)
        self.assertEqual(report.unchanged, 1)
        acme.refresh_from_db()
        self.assertEqual(acme.name, "Acme new")
        self.assertEqual(acme.phone, "3")
        self.assertEqual(acme.admin.name, "Acme new Admin")

    def test_says_so_if_the_column_of_keys_is_empty(self):
        self.assertIs(run("reference,name\n,Acme\n").has_key, False)
        self.assertIs(run("reference,name\n,Other\nR1,Third\n").has_key, True)

    def test_the_same_file_twice_changes_nothing(self):
        text = "reference,name,phone\nR1,Acme,1\nR2,Acme,\n"
        run(text)
        report = run(text)
        self.assertEqual(report.created, 0)
        self.assertEqual(report.changed, 0)
        self.assertEqual(report.unchanged, 2)

    def test_completes_a_website_as_the_form_does(self):
        run("name,website\nAcme,acme.example.com\n")
        self.assertEqual(Organization.objects.get().website, "https://acme.example.com")

    def test_an_empty_cell_and_a_missing_column_keep_what_is_there(self):
        create_organization("Acme", reference="R1", phone="1", notes="kept")
        report = run("reference,name,phone\nR1,Acme,\n")
        self.assertEqual(report.unchanged, 1)
        organization = Organization.objects.get()
        self.assertEqual(organization.phone, "1")
        self.assertEqual(organization.notes, "kept")

    def test_empties_the_columns_that_the_person_chose(self):
        create_organization("Acme", reference="R1", phone="1", email="a@b.de")
        create_organization("Other", reference="R2")
        options = ImportOptions(clear_blank=["phone"])
        text = "reference,name,phone,email\nR1,,,\nR2,Other,,\n"
        report = run(text, options=options)
        self.assertEqual((report.changed, report.cleared), (1, 1))
        organization = Organization.objects.get(reference="R1")
        self.assertEqual((organization.name, organization.phone), ("Acme", ""))
        self.assertEqual(organization.email, "a@b.de")

    def test_rows_without_reference_do_not_collide(self):
        run("name,reference\nA,\nB,\n")
        self.assertEqual(
            list(Organization.objects.values_list("reference", flat=True)), [None, None]
        )

    def test_a_dry_run_reports_and_changes_nothing(self):
        create_organization("Acme", reference="R1")
        report = run("reference,name\nR1,New\nR2,Other\n", dry_run=True)
        self.assertEqual(report.created, 1)
        self.assertEqual(report.changed, 1)
        self.assertEqual(
            list(Organization.objects.values_list("name", flat=True)), ["Acme"]
        )
        self.assertEqual(Group.objects.count(), 2)

    def test_costs_queries_by_the_batch(self):
        # The first organization loads the permissions, which are then remembered.
        create_organization("First")
        text = "name\n" + "".join(f"Name {number}\n" for number in range(1_500))
        # On PostgreSQL, each batch is one INSERT. SQLite limits the parameters of one.
        inserts = 15 + 8 + 2 if connection.vendor == "sqlite" else 2
        # The transaction, the entry of the audit log, the search for duplicates, and
        # for each of two batches a savepoint and the rest of bulk creation.
        with self.assertNumQueries(2 + 1 + 1 + 2 * 4 + inserts):
            run(text)

    def test_describes_a_full_batch_of_new_rows(self):
        previews = []
        text = "name\n" + "".join(f"Name {number}\n" for number in range(2_000))
        run(text, on_row=previews.append, dry_run=True)
        self.assertEqual(len(previews), 2_000)
        self.assertEqual(
            previews[-1].effects,
            ["created, with the groups “Name 1999 Admin”, “Name 1999 Reviewer”"],
        )

    def test_reports_progress(self):
        lines = []
        run("name\n" + "x\n" * 2_000, on_progress=lines.append)
        self.assertEqual(lines, [1001, 2001])

    def test_the_history_names_who_imported(self):
        create_organization("Acme", reference="R1")
        staff = create_superuser()
        run("reference,name,Tax ID\nR1,New,7\nR2,Other,\n", actor=staff)
        records = Organization.history.filter(history_user=staff)
        self.assertEqual(
            set(records.values_list("history_type", "name", "tax_id")),
            {("~", "New", "7"), ("+", "Other", "")},
        )


class RefusalMixin:
    def assert_refused(self, text, *messages, encoding="utf-8", **options):
        before = list(Organization.objects.values())
        with self.assertRaises(ImportRefused) as caught:
            run(text, encoding, **options)
        self.assertEqual(
            [str(problem) for problem in caught.exception.problems], list(messages)
        )
        self.assertEqual(list(Organization.objects.values()), before)
        self.assertEqual(Group.objects.count(), 2 * len(before))


UNPRINTABLE = (
    "This contains a line break or a character that cannot be displayed. Type the text"
    " again, on one line."
)
NOT_AN_ID = "This is not an ID. Leave the cell empty to create an organization."
NO_SUCH_ID = (
    "There is no such organization, or you cannot edit it. Leave the ID empty to"
    " create one."
)
REFERENCE_TAKEN = "Another organization has this reference. Choose another one."
NOT_ALLOWED = "You cannot edit this field. Remove the column."
NEVER_CLOSED = (
    "A quotation mark in this line opens a cell that is never closed. Remove the mark,"
    " or add the second one."
)
TEXT_AFTER_CELL = (
    "In this line, text follows a cell in quotation marks. Write quotation marks inside"
    " such a cell twice."
)


class RefusalTests(RefusalMixin, TestCase):
    def test_names_line_column_and_value_of_twenty_kinds_of_bad_lines(self):
        acme = create_organization("Acme", reference="R1")
        other = create_organization("Other", reference="R2")
        nobody = other.pk + 100
        # (line of the file, what is said about it)
        cases = [
            (
                ",,R10,,,,,",
                "line 2, column “Company”: This field cannot be blank.",
            ),
            (
                f",,R11,{'x' * 256},,,,",
                f"line 3, column “Company”, “{'x' * 60}…”: Ensure this value has at"
                " most 255 characters (it has 256).",
            ),
            (
                ",,R12,a\x00b,,,,",
                f"line 4, column “Company”, “a\\x00b”: {UNPRINTABLE}",
            ),
            (
                ",,R13,a\u202eb,,,,",
                f"line 5, column “Company”, “a\\u202eb”: {UNPRINTABLE}",
            ),
            # Two lines in one cell: from here on, records begin one line later.
            (
                ',,R14,"two\nlines",,,,',
                f"line 6, column “Company”, “two\\nlines”: {UNPRINTABLE}",
            ),
            (
                ",,R15,Bad mail,nobody,,,",
                "line 8, column “E-Mail”, “nobody”: Enter a valid email address.",
            ),
            (
                ",,R16,Bad mail,a@b@c.de,,,",
                "line 9, column “E-Mail”, “a@b@c.de”: Enter a valid email address.",
            ),
            (
                ",,R17,Bad site,,javascript:alert(1),,",
                "line 10, column “url”, “javascript:alert(1)”: Enter a valid URL.",
            ),
            (
                ",,R18,Bad site,,no site,,",
                "line 11, column “url”, “no site”: Enter a valid URL.",
            ),
            (
                f",,R19,Long phone,,,{'1' * 51},",
                f"line 12, column “phone”, “{'1' * 51}”: Ensure this value has at most"
                " 50 characters (it has 51).",
            ),
            (
                ",,R20,Bad phone,,,1\x07,",
                f"line 13, column “phone”, “1\\x07”: {UNPRINTABLE}",
            ),
            (
                f",,{'R' * 101},Long reference,,,,",
                f"line 14, column “reference”, “{'R' * 60}…”: Ensure this value has at"
                " most 100 characters (it has 101).",
            ),
            (
                "x1,,,Bad id,,,,",
                f"line 15, column “id”, “x1”: {NOT_AN_ID}",
            ),
            (
                "1.5,,,Bad id,,,,",
                f"line 16, column “id”, “1.5”: {NOT_AN_ID}",
            ),
            (
                f"{id_cells(nobody)},,No such id,,,,",
                f"line 17, column “id”, “{nobody}”: {NO_SUCH_ID}",
            ),
            (
                f"{id_cells(acme.pk)},R2,Reference of another,,,,",
                f"line 18, column “reference”, “R2”: {REFERENCE_TAKEN}",
            ),
            (
                f"{id_cells(acme.pk)},,Twice,,,,",
                f"line 19, column “id”, “{acme.pk}”: Line 18 already has this ID. Keep"
                " only one of them.",
            ),
            (
                ",,R10,Twice,,,,",
                "line 20, column “reference”, “R10”: Line 2 already has this reference."
                " Keep only one of them.",
            ),
            (
                ",,R21,Few cells",
                "line 21: The header and this line have different numbers of cells: 8"
                " and 4. Look for a missing or extra separator.",
            ),
            (
                ",,R22,Many cells,,,,,,x",
                "line 22: The header and this line have different numbers of cells: 8"
                " and 10. Look for a missing or extra separator.",
            ),
            (
                f",,R23,Long tax ID,,,,{'9' * 51}",
                f"line 23, column “tax id”, “{'9' * 51}”: Ensure this value has at most"
                " 50 characters (it has 51).",
            ),
        ]
        lines = ["id,id_key,reference,Company,E-Mail,url,phone,tax id"]
        messages = []
        for line, message in cases:
            lines.append(line)
            messages.append(message)
        self.assert_refused("\n".join(lines), *messages)

    def test_one_line_for_one_organization_wherever_a_batch_ends(self):
        acme = create_organization("Acme", reference="R1")
        other = create_organization("Other", reference="R2")
        header = "id,id_key,reference,name,phone\n"
        for filler_lines in (0, 1_000):
            filler = "".join(f",,F{n},Filler,\n" for n in range(filler_lines))
            # The line after the first one and the filler
            line = 3 + filler_lines
            taken = f"line {line}, column “reference”, “R1”: {REFERENCE_TAKEN}"
            twice = (
                f"line {line}: Line 2 already changes this organization (ID {acme.pk})."
                " Keep only one of the two lines."
            )
            in_one_batch = filler_lines == 0
            with self.subTest(filler_lines=filler_lines):
                self.assert_refused(
                    f"{header}{id_cells(acme.pk)},,Alpha,7\n{filler},,R1,Beta,8\n",
                    twice,
                )
                self.assert_refused(
                    f"{header},,R1,Alpha,7\n{filler}{id_cells(acme.pk)},,Beta,8\n",
                    twice,
                )
                self.assert_refused(
                    f"{header}{id_cells(acme.pk)},R8,Acme,1\n{filler}{id_cells(other.pk)},R1,Other,8\n",
                    taken,
                )
                self.assert_refused(
                    f"{header}{id_cells(acme.pk)},R8,Acme,1\n{filler},,R1,New,8\n",
                    twice if in_one_batch else taken,
                )

    def test_a_line_changes_nothing_that_the_file_created(self):
        first = create_organization("First")
        for count in (5, 1_000):
            lines = ",,New\n" * count + f"{id_cells(first.pk + 1)},Changed\n"
            with self.assertRaises(ImportRefused) as caught:
                run("id,id_key,name\n" + lines)
            [problem] = caught.exception.problems
            self.assertEqual(problem.line, count + 2)
            self.assertEqual(Organization.objects.count(), 1)

    def test_a_bad_line_after_a_good_batch_undoes_it(self):
        lines = "\n".join(["Acme"] * 1_100 + ['""x'])
        self.assert_refused("name\n" + lines, f"line 1102: {TEXT_AFTER_CELL}")

    def test_an_invalid_line_is_reported_with_the_problems_before_it(self):
        good_lines = "Acme,\n" * 999
        self.assert_refused(
            f'name,email\nAcme,x\n{good_lines}"Open\nquote',
            "line 2, column “email”, “x”: Enter a valid email address.",
            f"line 1002: {NEVER_CLOSED}",
        )

    def test_refuses_files_that_are_not_what_is_needed(self):
        no_header = "The file has no header line. Its first line must name the columns."
        rename = (
            "Change the title of the column that contains the names of the"
            " organizations to “name”."
        )
        too_long = (
            "A cell that begins in this line has more than a million characters. Look"
            " for an unmatched quotation mark."
        )
        cases = [
            ("", no_header),
            ("\n\n", no_header),
            (
                "phone,Fax\n1,2",
                "line 1: There is no column “name”. The columns are: phone, Fax."
                f" {rename}",
            ),
            (
                ",,\n\x1b[31mphone,fax\n",
                "line 2: There is no column “name”. The columns are: \\x1b[31mphone,"
                f" fax. {rename}",
            ),
            (
                "name,Organization Name\na,b",
                "line 1, column “Organization Name”: This column and column “name” both"
                " contain “name”. Remove one of them.",
            ),
            ("name" + "x" * 1_000_000, f"line 1: {too_long}"),
            (
                'name\nAcme\n"Open\nquote',
                f"line 3: {NEVER_CLOSED}",
            ),
            (
                "PK\x03\x04xlsx",
                "This workbook is damaged or incomplete. Open it in a spreadsheet"
                " program, save it again, and import that file.",
            ),
        ]
        for text, message in cases:
            with self.subTest(text=text):
                self.assert_refused(text, message)

    def test_refuses_text_that_is_damaged(self):
        message = (
            "This is not text in UTF-8. Save the file as “CSV UTF-8” or as a workbook"
            " (.xlsx), or choose another encoding."
        )
        text = "name\nAcmé\nM\udcfcller\n".encode("utf-8", "surrogateescape")
        with self.assertRaises(ImportRefused) as caught:
            import_organizations(io.BytesIO(text))
        [problem] = caught.exception.problems
        self.assertEqual(str(problem), f"line 3, “M\ufffd”: {message}")

    def test_lone_surrogates_are_not_utf_8(self):
        content = "name\na\ud800b\n".encode("utf-8", "surrogatepass")
        with self.assertRaises(ImportRefused) as caught:
            import_organizations(io.BytesIO(content))
        self.assertIn("line 2", str(caught.exception.problems[0]))


class ImportAsOrgAdminTests(RefusalMixin, TestCase):
    """Rows that the rule does not permit do not exist for the person who imports."""

    def setUp(self):
        self.own = create_organization("Own", reference="R1")
        self.foreign = create_organization("Foreign", reference="R2")
        self.reviewed = create_organization("Reviewed", reference="R3")
        self.user = create_user(admin_of=[self.own], reviewer_of=[self.reviewed])

    def test_changes_own_organizations(self):
        report = run(
            f"id,id_key,name,phone\n{id_cells(self.own.pk)},New,1\n", actor=self.user
        )
        self.assertEqual(report.changed, 1)

    def test_leaves_confidential_fields_and_people_to_the_pages(self):
        for column in ("tax_id", "notes", "admins"):
            self.assert_refused(
                f"id,id_key,name,{column}\n{id_cells(self.own.pk)},Own,\n",
                f"line 2, column “{column}”: {NOT_ALLOWED}",
                actor=self.user,
            )

    @tag("A41")
    def test_foreign_reviewed_and_missing_ids_are_refused_alike(self):
        for pk in (self.foreign.pk, self.reviewed.pk, 999_999):
            with self.subTest(pk=pk):
                self.assert_refused(
                    f"id,id_key,name\n{id_cells(pk)},New\n",
                    f"line 2, column “id”, “{pk}”: {NO_SUCH_ID}",
                    actor=self.user,
                )

    def test_a_foreign_reference_is_refused_like_one_that_does_not_exist(self):
        for reference in ("R2", "R3", "R9"):
            with self.subTest(reference=reference):
                self.assert_refused(
                    f"reference,name\n{reference},New\n",
                    "line 2: You cannot create organizations. Ask platform staff to do"
                    " it.",
                    actor=self.user,
                )

    def test_the_answer_about_a_confidential_field_does_not_reveal_its_value(self):
        clerk = create_user(
            "clerk",
            is_staff=True,
            permissions=["view_organization", "change_organization"],
        )
        Organization.objects.filter(pk=self.own.pk).update(tax_id="47")
        for value in ("47", "48", ""):
            self.assert_refused(
                f"id,id_key,name,tax_id\n{id_cells(self.own.pk)},Own,{value}\n",
                f"line 2, column “tax_id”: {NOT_ALLOWED}",
                actor=clerk,
                dry_run=True,
            )

    def test_staff_who_may_add_create_as_in_the_form(self):
        clerk = create_user(
            "clerk",
            is_staff=True,
            permissions=[
                "view_organization",
                "change_organization",
                "add_organization",
            ],
        )
        self.assertEqual(run("name,phone\nNew,1\n", actor=clerk).created, 1)
        for column in ("reference", "notes"):
            self.assert_refused(
                f"name,{column}\nNew,x\n",
                f"line 2, column “{column}”: {NOT_ALLOWED}",
                actor=clerk,
            )

    def test_may_not_set_a_reference(self):
        for reference in ("R2", "R9"):
            self.assert_refused(
                f"id,id_key,reference,name\n{id_cells(self.own.pk)},{reference},New\n",
                f"line 2, column “reference”: {NOT_ALLOWED}",
                actor=self.user,
            )


class ConsentTests(TestCase):
    """Rows that look damaged are imported only if someone confirms this."""

    @tag("E15")
    def test_refuses_damaged_cells_and_imports_them_if_someone_agrees(self):
        create_organization("Acme", reference="R1", phone="030 1234567")
        text = "reference,name,phone\nR1,Acme,3.01235E+08\nR2,New,1\n"
        with self.assertRaises(WarningsRefused) as caught:
            run(text)
        [problem] = caught.exception.problems
        self.assertEqual(
            str(problem),
            "line 2, column “phone”, “3.01235E+08”: damaged number. A spreadsheet has"
            " shortened this number. Format the column as text there, and enter the"
            " number again.",
        )
        self.assertEqual(Organization.objects.get().phone, "030 1234567")
        report = run(text, options=ImportOptions(accepts_warnings=True))
        self.assertEqual((report.created, report.changed), (1, 1))

    def test_what_is_damaged_already_needs_no_consent(self):
        create_organization("NULL", reference="R1", phone="4.9E+11")
        report = run("reference,name,phone,email\nR1,NULL,4.9E+11,a@b.de\n")
        self.assertEqual((report.changed, report.warnings), (1, []))

    def test_invisible_characters_are_removed_without_consent(self):
        report = run("name,reference\nA\u200bcme,K\u200b1\n")
        self.assertEqual(len(report.warnings), 2)
        self.assertIs(report.needs_consent, False)
        organization = Organization.objects.get()
        self.assertEqual((organization.name, organization.reference), ("Acme", "K1"))

    def test_takes_the_first_of_two_addresses(self):
        options = ImportOptions(accepts_warnings=True)
        run("name,email\nAcme,a@b.de; c@d.de\n", options=options)
        self.assertEqual(Organization.objects.get().email, "a@b.de")

    def test_keeps_the_text_of_a_formula(self):
        run('name,phone\nAcme,"=""030 1"""\n')
        self.assertEqual(Organization.objects.get().phone, "030 1")

    def test_says_what_an_admin_loses_who_becomes_a_reviewer(self):
        acme = create_organization("Acme", reference="R1")
        anna = create_user("anna", email="anna@example.com", admin_of=[acme])
        anna.verify_email()
        other = create_user("bert", admin_of=[acme])
        self.assertTrue(other.groups.exists())
        text = "reference,name,reviewers\nR1,Acme,anna@example.com\n"
        with self.assertRaises(WarningsRefused) as caught:
            run(text)
        self.assertIn(
            "line 2, column “reviewers”, “anna@example.com”: loses a role. The person"
            " has another role in this organization, and the new one replaces it. The"
            " person is Admin now. In the new role, they can no longer: edit it, view"
            " and edit confidential fields, manage its people.",
            str(caught.exception.problems[0]),
        )
        self.assertIn(acme.admin, anna.groups.all())
        report = run("reference,name,admins\nR1,Acme,anna@example.com\n")
        self.assertEqual(report.warnings, [])


class DuplicateTests(TestCase):
    def test_names_the_organization_and_the_reason(self):
        create_organization("Zero GmbH", email="info@zero.example", tax_id="DE1")
        text = (
            "name,email,tax_id\n"
            "zero gmbh,,\n"
            "Zero Ltd,x@ZERO.example,\n"
            "Widgets,,DE1\n"
            "Bakery,b@zero.example,\n"
        )
        report = run(text, dry_run=True)
        self.assertEqual(
            [warning.detail for warning in report.warnings],
            [
                "“Zero GmbH” has the same name, or one that looks like it.",
                "“Zero GmbH” has a similar name, and an email address at the same"
                " domain.",
                "“Zero GmbH” has the same tax ID.",
            ],
        )

    def test_a_domain_that_many_have_says_nothing(self):
        names = [f"Shop {number}" for number in range(MAX_AT_DOMAIN + 1)]
        Organization.objects.bulk_create(
            Organization(name=name, email="shop@mall.example") for name in names
        )
        text = "name,email\nShop 99,b@mall.example\n"
        self.assertEqual(run(text, dry_run=True).warnings, [])
        Organization.objects.filter(name="Shop 0").delete()
        self.assertEqual(len(run(text, dry_run=True).warnings), 1)

    def test_a_public_domain_says_nothing(self):
        create_organization("Zero", email="zero@gmail.com")
        report = run("name,email\nZero 2,other@gmail.com\n", dry_run=True)
        self.assertEqual(report.warnings, [])

    def test_rows_of_the_same_file_are_no_duplicates(self):
        report = run("name\n" + "Acme\n" * 1_001)
        self.assertEqual((report.created, report.warnings), (1_001, []))

    @tag("A41")
    def test_finds_only_what_the_person_may_view(self):
        create_organization("Hidden", email="a@hidden.example", tax_id="DE1")
        own = create_organization("Own")
        user = create_user(reviewer_of=[own])
        rows = []
        for line, name in enumerate(["Hidden", "Hidden 2", "Own"], start=2):
            new = Organization(name=name, email="b@hidden.example", tax_id="DE1")
            rows.append(PlannedRow(line, new, True, {}, [], []))
        finder = DuplicateFinder(Organization.objects.permitted(user, "view"))
        finder.add(rows)
        self.assertEqual([warning.line for warning in finder.find([])], [4])
        finder = DuplicateFinder(Organization.objects.all())
        finder.add(rows)
        self.assertEqual(len(finder.find([])), 3)


class NameTests(TestCase):
    """Names identify organizations if the person selects this."""

    OPTIONS = ImportOptions(matches_names=True)

    def test_keeps_the_name_as_it_is_written_here(self):
        acme = create_organization("Acme")
        report = run("name,phone\n ACME ,7\nNew,8\n", options=self.OPTIONS)
        self.assertEqual((report.created, report.changed), (1, 1))
        acme.refresh_from_db()
        self.assertEqual((acme.name, acme.phone), ("Acme", "7"))

    def test_refuses_a_name_that_several_have(self):
        create_organization("Acme")
        create_organization("acme")
        with self.assertRaises(ImportRefused) as caught:
            run("name,phone\nAcme,7\n", options=self.OPTIONS)
        self.assertIn("2 organizations have this name.", str(caught.exception))

    def test_names_that_only_look_alike_are_others(self):
        create_organization("Acme", phone="1")
        report = run("name,phone\n\u0410cme,7\n", options=self.OPTIONS, dry_run=True)
        self.assertEqual((report.created, len(report.warnings)), (1, 1))

    @tag("A41")
    def test_finds_only_what_the_person_may_change(self):
        own = create_organization("Own")
        create_organization("Foreign")
        user = create_user(admin_of=[own])
        report = run("name,phone\nOwn,7\n", actor=user, options=self.OPTIONS)
        self.assertEqual(report.changed, 1)
        with self.assertRaises(ImportRefused) as caught:
            run("name,phone\nForeign,7\n", actor=user, options=self.OPTIONS)
        self.assertIn("You cannot create organizations.", str(caught.exception))


class IdTests(TestCase):
    @tag("A41")
    def test_the_ids_of_another_system_change_nothing(self):
        acme = create_organization("Acme", phone="1")
        report = run(f"id,name,phone\n{acme.pk},Stranger,7\n")
        self.assertEqual((report.created, report.changed), (1, 0))
        self.assertIs(report.has_foreign_ids, True)
        acme.refresh_from_db()
        self.assertEqual((acme.name, acme.phone), ("Acme", "1"))

    @tag("A41")
    def test_an_id_with_the_key_of_another_is_refused(self):
        acme = create_organization("Acme")
        other = create_organization("Other")
        key = id_cells(other.pk).partition(",")[2]
        with self.assertRaises(ImportRefused) as caught:
            run(f"id,id_key,name\n{acme.pk},{key},Stranger\n")
        self.assertIn("does not belong to the “id_key”", str(caught.exception))
