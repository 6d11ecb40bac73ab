import io

from django.contrib.auth.models import Group
from django.db import connection
from django.test import TestCase, tag

from orgadmin.models import Organization
from orgadmin.records.imports import ImportRefused, import_organizations

from .factories import create_organization, create_superuser, create_user


def run(text, encoding="utf-8", **options):
    return import_organizations(io.BytesIO(text.encode(encoding)), **options)


class ImportTests(TestCase):
    def test_creates_organizations_with_groups(self):
        report = run("name,phone\nAcme,1\nAcme,2\n")
        self.assertEqual(
            (report.created, report.changed, report.has_key), (2, 0, False)
        )
        self.assertEqual(
            Group.objects.filter(name__in=["Acme Admin", "Acme 1 Admin"]).count(), 2
        )

    def test_knows_titles_that_people_write(self):
        text = "Organization Name;Organization_Address;E-Mail;VAT number;Web site;Telephone;Colour\nÄ;B;c@d.de;1;;2;red"
        report = run(text)
        self.assertEqual(report.ignored, ["Colour"])
        values = Organization.objects.values(
            "name", "address", "email", "tax_id", "website", "phone"
        ).get()
        self.assertEqual(list(values.values()), ["Ä", "B", "c@d.de", "1", "", "2"])

        self.assertEqual(run("Company,Web,Phone number\nX,x.example,3\n").ignored, [])
        self.assertEqual(
            Organization.objects.get(name="X").website, "https://x.example"
        )

    def test_reads_what_spreadsheets_write(self):
        texts = [
            "name,address\nAcme,Here\n",
            "\ufeffname,address\r\nAcme,Here\r\n",
            '\ufeff"name";"address"\r\n"Acme";"Here"\r\n\r\n;\r\n',
            "name\taddress\nAcme\tHere",
            ' name , address \n  Acme , "Here"\n'.replace(', "', ',"'),
        ]
        for text in texts:
            with self.subTest(text=text):
                Organization.objects.all().delete()
                self.assertEqual(run(text).created, 1)
                self.assertEqual(
                    Organization.objects.values_list("name", "address").get(),
                    ("Acme", "Here"),
                )

    def test_reads_quoted_line_breaks(self):
        run('name,address\n"Acme","Street 1\n12345 Town"\n')
        self.assertEqual(Organization.objects.get().address, "Street 1\n12345 Town")

    def test_matches_by_id_and_then_by_reference(self):
        acme = create_organization("Acme", reference="R1", phone="1")
        create_organization("Other", reference="R2", phone="2")
        report = run(
            f"id,reference,name,phone\n{acme.pk},R1,Acme new,3\n,R2,Other,2\n,R3,Third,\n"
        )
        self.assertEqual((report.created, report.changed, report.unchanged), (1, 1, 1))
        acme.refresh_from_db()
        self.assertEqual(
            (acme.name, acme.phone, acme.admin.name),
            ("Acme new", "3", "Acme new Admin"),
        )

    def test_the_same_file_twice_changes_nothing(self):
        text = "reference,name,phone\nR1,Acme,1\nR2,Acme,\n"
        run(text)
        report = run(text)
        self.assertEqual((report.created, report.changed, report.unchanged), (0, 0, 2))

    def test_completes_a_website_as_the_form_does(self):
        run("name,website\nAcme,acme.example.com\n")
        self.assertEqual(Organization.objects.get().website, "https://acme.example.com")

    def test_an_empty_cell_empties_and_a_missing_column_leaves(self):
        create_organization("Acme", reference="R1", phone="1", notes="kept")
        run("reference,name,phone\nR1,Acme,\n")
        self.assertEqual(
            Organization.objects.values_list("phone", "notes").get(), ("", "kept")
        )

    def test_rows_without_reference_do_not_collide(self):
        run("name,reference\nA,\nB,\n")
        self.assertEqual(
            list(Organization.objects.values_list("reference", flat=True)), [None, None]
        )

    def test_a_dry_run_tells_and_changes_nothing(self):
        create_organization("Acme", reference="R1")
        report = run("reference,name\nR1,New\nR2,Other\n", dry_run=True)
        self.assertEqual((report.created, report.changed), (1, 1))
        self.assertEqual(
            list(Organization.objects.values_list("name", flat=True)), ["Acme"]
        )
        self.assertEqual(Group.objects.count(), 2)

    def test_costs_queries_by_the_batch(self):
        inserts = 12 + 6 + 2 if connection.vendor == "sqlite" else 2
        text = "name\n" + "".join(f"Name {number}\n" for number in range(1_500))
        create_organization(
            "First"
        )  # asks for the permissions, which then are remembered
        with self.assertNumQueries(
            2 + 2 * 4 + inserts
        ):  # of bulk creation, and a savepoint
            run(text)

    def test_shows_progress(self):
        lines = []
        run("name\n" + "x\n" * 2_000, progress=lines.append)
        self.assertEqual(lines, [1001, 2001])

    def test_the_history_tells_who_imported(self):
        create_organization("Acme", reference="R1")
        staff = create_superuser()
        run("reference,name,Tax ID\nR1,New,7\nR2,Other,\n", actor=staff)
        records = Organization.history.filter(history_user=staff).order_by("history_id")
        self.assertEqual(
            {(r.history_type, r.name, r.tax_id) for r in records},
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


class RefusalTests(RefusalMixin, TestCase):
    def test_names_line_column_and_value_of_twenty_kinds_of_bad_lines(self):
        acme = create_organization("Acme", reference="R1")
        other = create_organization("Other", reference="R2")
        nobody = other.pk + 100
        lines = [
            ",R10,,,,,",
            f",R11,{'x' * 256},,,,",
            ",R12,a\x00b,,,,",
            ",R13,a\u202eb,,,,",
            ',R14,"two\nlines",,,,',
            ",R15,Bad mail,nobody,,,",
            ",R16,Bad mail,a@b@c.de,,,",
            ",R17,Bad site,,javascript:alert(1),,",
            ",R18,Bad site,,no site,,",
            f",R19,Long phone,,,{'1' * 51},",
            ",R20,Bad phone,,,1\x07,",
            f",{'R' * 101},Long reference,,,,",
            "x1,,Bad id,,,,",
            "1.5,,Bad id,,,,",
            f"{nobody},,No such id,,,,",
            f"{acme.pk},R2,Reference of another,,,,",
            f"{acme.pk},,Twice,,,,",
            ",R10,Twice,,,,",
            ",R21,Few cells",
            ",R22,Many cells,,,,,,",
            f",R23,Long tax ID,,,,{'9' * 51}",
        ]
        self.assert_refused(
            "id,reference,Company,E-Mail,url,phone,tax id\n" + "\n".join(lines),
            "line 2, column “Company”: This field cannot be blank.",
            f"line 3, column “Company”, “{'x' * 60}…”: Ensure this value has at most 255 characters (it has 256).",
            "line 4, column “Company”, “a\\x00b”: This contains a line break or a character that cannot be displayed."
            " Type it anew, on one line.",
            "line 5, column “Company”, “a\\u202eb”: This contains a line break or a character that cannot be displayed."
            " Type it anew, on one line.",
            "line 6, column “Company”, “two\\nlines”: This contains a line break or a character that cannot be displayed."
            " Type it anew, on one line.",
            "line 8, column “E-Mail”, “nobody”: Enter a valid email address.",
            "line 9, column “E-Mail”, “a@b@c.de”: Enter a valid email address.",
            "line 10, column “url”, “javascript:alert(1)”: Enter a valid URL.",
            "line 11, column “url”, “no site”: Enter a valid URL.",
            f"line 12, column “phone”, “{'1' * 51}”: Ensure this value has at most 50 characters (it has 51).",
            "line 13, column “phone”, “1\\x07”: This contains a line break or a character that cannot be displayed."
            " Type it anew, on one line.",
            f"line 14, column “reference”, “{'R' * 60}…”: Ensure this value has at most 100 characters (it has 101).",
            "line 15, column “id”, “x1”: An id is a whole number. Leave it empty to create an organization.",
            "line 16, column “id”, “1.5”: An id is a whole number. Leave it empty to create an organization.",
            f"line 17, column “id”, “{nobody}”: There is no such organization, or you may not change it."
            " Leave the id empty to create one.",
            "line 18, column “reference”, “R2”: Another organization has this reference.",
            f"line 19, column “id”, “{acme.pk}”: Line 18 has this id already. Keep one of them.",
            "line 20, column “reference”, “R10”: Line 2 has this reference already. Keep one of them.",
            "line 21: This line has 3 cells, the header has 7.",
            "line 22: This line has 9 cells, the header has 7.",
            f"line 23, column “tax id”, “{'9' * 51}”: Ensure this value has at most 50 characters (it has 51).",
        )

    def test_one_line_for_one_organization_wherever_a_batch_ends(self):
        acme = create_organization("Acme", reference="R1")
        other = create_organization("Other", reference="R2")
        filler = "".join(f",F{number},Filler,\n" for number in range(1_000))

        def taken(line):
            return f"line {line}, column “reference”, “R1”: Another organization has this reference."

        for between in ("", filler):
            line = 3 + between.count("\n")
            header = "id,reference,name,phone\n"
            twice = f"line {line}: Line 2 changes the same organization (id {acme.pk}). Keep one of them."
            self.assert_refused(
                f"{header}{acme.pk},,Alpha,7\n{between},R1,Beta,8\n",
                taken(line) if between else twice,
            )
            self.assert_refused(
                f"{header},R1,Alpha,7\n{between}{acme.pk},,Beta,8\n", twice
            )
            for again in (f"{other.pk},R1,Other,8", ",R1,New,8"):
                message = (
                    twice if again.startswith(",") and not between else taken(line)
                )
                self.assert_refused(
                    f"{header}{acme.pk},R8,Acme,1\n{between}{again}\n", message
                )

    def test_a_line_changes_nothing_that_the_file_created(self):
        first = create_organization("First")
        for count in (5, 1_000):
            lines = ",New\n" * count + f"{first.pk + 1},Changed\n"
            with self.assertRaises(ImportRefused) as caught:
                run("id,name\n" + lines)
            [problem] = caught.exception.problems
            self.assertEqual(problem.line, count + 2)
            self.assertEqual(Organization.objects.count(), 1)

    def test_a_bad_line_behind_a_good_batch_undoes_it(self):
        lines = "\n".join(["Acme"] * 1_100 + ['""x'])
        self.assert_refused(
            "name\n" + lines,
            "line 1102: This line is not well-formed CSV (',' expected after '\"')."
            " Look for a quotation mark without its partner.",
        )

    def test_refuses_files_that_are_not_what_is_needed(self):
        header = "The file has no header line. Its first line must name the columns."
        cases = {
            "": header,
            "\n\n": header,
            "phone,Anschrift\n1,2": "line 1: There is no column “name”; the columns are: phone, Anschrift."
            " Name the column that holds the names “name”.",
            "name,Organization Name\na,b": "line 1, column “Organization Name”: This column means “name”,"
            " as column “name” does. Remove one of them.",
            "name"
            + "x"
            * 140_000: "line 1: This line is not well-formed CSV (field larger than field limit (131072))."
            " Look for a quotation mark without its partner.",
            "PK\x03\x04xlsx": "This is a workbook, not a CSV file. Save it as “CSV UTF-8” and import that.",
            ",,\n\x1b[31mphone,fax\n": "line 2: There is no column “name”; the columns are: \\x1b[31mphone, fax."
            " Name the column that holds the names “name”.",
            'name\nAcme\n"Open\nquote': "line 3: This line is not well-formed CSV (unexpected end of data)."
            " Look for a quotation mark without its partner.",
        }
        for text, message in cases.items():
            with self.subTest(text=text):
                self.assert_refused(text, message)

    def test_refuses_other_encodings(self):
        self.assert_refused(
            "name\nAcme\nMüller\n",
            "line 3, “M\ufffd”: This is not UTF-8. Save the file as “CSV UTF-8” and import that.",
            encoding="latin-1",
        )
        self.assert_refused(
            "name\nAcme\n",
            "line 1, “\ufffd”: This is not UTF-8. Save the file as “CSV UTF-8” and import that.",
            encoding="utf-16",
        )

    def test_lone_surrogates_are_not_utf_8(self):
        with self.assertRaises(ImportRefused) as caught:
            import_organizations(
                io.BytesIO("name\na\ud800b\n".encode("utf-8", "surrogatepass"))
            )
        self.assertIn("line 2", str(caught.exception.problems[0]))


class ImportAsOrgAdminTests(RefusalMixin, TestCase):
    """What the rule does not permit does not exist for the person who imports."""

    def setUp(self):
        self.own = create_organization("Own", reference="R1")
        self.foreign = create_organization("Foreign", reference="R2")
        self.reviewed = create_organization("Reviewed", reference="R3")
        self.user = create_user(admin_of=[self.own], reviewer_of=[self.reviewed])

    def test_changes_own_organizations(self):
        report = run(f"id,name,phone\n{self.own.pk},New,1\n", actor=self.user)
        self.assertEqual(report.changed, 1)

    def test_leaves_confidential_fields_and_people_to_the_pages(self):
        for column in ("tax_id", "notes", "admins"):
            self.assert_refused(
                f"id,name,{column}\n{self.own.pk},Own,\n",
                f"line 2, column “{column}”: You may not change this field. Remove the column.",
                actor=self.user,
            )

    @tag("A41")
    def test_foreign_reviewed_and_missing_ids_are_refused_alike(self):
        text = "There is no such organization, or you may not change it. Leave the id empty to create one."
        for pk in (self.foreign.pk, self.reviewed.pk, 999_999):
            with self.subTest(pk=pk):
                self.assert_refused(
                    f"id,name\n{pk},New\n",
                    f"line 2, column “id”, “{pk}”: {text}",
                    actor=self.user,
                )

    def test_a_foreign_reference_is_refused_like_one_that_does_not_exist(self):
        for reference in ("R2", "R3", "R9"):
            with self.subTest(reference=reference):
                self.assert_refused(
                    f"reference,name\n{reference},New\n",
                    "line 2: You may not create organizations. Ask platform staff to do it.",
                    actor=self.user,
                )

    def test_the_answer_about_a_confidential_field_does_not_tell_its_value(self):
        clerk = create_user(
            "clerk",
            is_staff=True,
            permissions=["view_organization", "change_organization"],
        )
        Organization.objects.filter(pk=self.own.pk).update(tax_id="47")
        for value in ("47", "48", ""):
            self.assert_refused(
                f"id,name,tax_id\n{self.own.pk},Own,{value}\n",
                "line 2, column “tax_id”: You may not change this field. Remove the column.",
                actor=clerk,
                dry_run=True,
            )

    def test_staff_who_may_add_creates_as_in_the_form(self):
        permissions = ["view_organization", "change_organization", "add_organization"]
        clerk = create_user("clerk", is_staff=True, permissions=permissions)
        self.assertEqual(run("name,phone\nNew,1\n", actor=clerk).created, 1)
        for column in ("reference", "notes"):
            self.assert_refused(
                f"name,{column}\nNew,x\n",
                f"line 2, column “{column}”: You may not change this field. Remove the column.",
                actor=clerk,
            )

    def test_may_not_set_a_reference(self):
        for reference in ("R2", "R9"):
            self.assert_refused(
                f"id,reference,name\n{self.own.pk},{reference},New\n",
                "line 2, column “reference”: You may not change this field. Remove the column.",
                actor=self.user,
            )
