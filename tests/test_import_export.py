"""The import page and the export."""

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from unittest import mock

from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError
from django.test import TestCase, tag

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.admin.imports import import_form
from orgadmin.models import Membership, Organization, User
from orgadmin.people.ends import find_today
from orgadmin.records.csv_files import unescape_formula
from orgadmin.records.exports import list_organizations
from orgadmin.records.imports import stored_imports
from orgadmin.records.imports.options import PAGE_LIMITS, REQUEST_LIMITS, ImportOptions
from orgadmin.records.imports.organizations import import_organizations
from orgadmin.records.imports.workbooks import read_workbook

from .factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    id_cells,
    set_role,
)
from .import_corpus.workbook_files import make_workbook

LIST = "/admin/orgadmin/organization/"
IMPORT = f"{LIST}import/"


def file_of(text):
    file = io.BytesIO(text.encode())
    file.name = "organizations.csv"
    return file


def create_account(username, actor):
    """Create an account as someone who chooses its email address."""
    user = User(username=username, email=f"{username}@example.com")
    user.set_unusable_password()
    user.changed_by = actor
    user.save()
    return user


class ImportPageTests(TestCase):
    def setUp(self):
        self.client.force_login(create_superuser())
        self.acme = create_organization("Acme", reference="R1", phone="1")
        self.anna = create_user("anna", email="anna@example.com")
        self.anna.verify_email()

    def preview(self, text, **data):
        return self.upload(file_of(text), **data)

    def upload(self, file, **data):
        return self.client.post(IMPORT, data | {"file": file}, follow=True)

    def confirm(self, response, **data):
        """Press the button of the preview: send back what the page carries."""
        page = response.content.decode()
        seen = re.search(r'name="seen" value="(\w+)"', page)[1]
        url = response.request["PATH_INFO"]
        return self.client.post(url, data | {"seen": seen}, follow=True)

    def test_shows_what_it_would_do_and_then_does_it(self):
        text = (
            "reference,name,phone,admins\r\n"
            "R1,Acme,2,Anna@example.com\n"
            "R2,New,,\n"
            'R3,"Two\nlines",,\n'
        )
        self.assertContains(self.preview(text), "line break")
        text = text.replace("R3", "").replace('"Two\nlines"', "Other")
        response = self.preview(text)
        for shown in (
            "phone: “1” → “2”",
            "anna becomes Admin",
            "created, with the groups “New Admin”, “New Reviewer”",
        ):
            self.assertContains(response, shown)
        self.assertFalse(
            Organization.objects.filter(name="New").exists()
            or self.anna.groups.exists()
        )
        response = self.confirm(response)
        self.assertContains(
            response,
            "2 organizations were created. 1 organization was changed. 1 person was"
            " given a role.",
        )
        self.assertEqual(list(self.anna.groups.all()), [self.acme.admin])
        response = self.preview(text)
        for line in ("Create 1 organization", "Leave 2 organizations unchanged"):
            self.assertContains(response, f"<li>{line}</li>", html=True)
        self.assertNotContains(response, "Change 0 organizations")

    def test_offers_no_import_that_would_change_nothing(self):
        response = self.preview("reference,name,phone\nR1,Acme,1\n")
        self.assertContains(response, "This file would change nothing")
        self.assertContains(response, "Leave 1 organization unchanged")
        self.assertNotContains(response, "Nothing was imported yet")
        self.assertNotContains(response, 'value="Import organizations"')
        self.assertContains(response, "Cancel import")
        for text in ("Create 0", "Change 0", "Give 0", "Invite 0"):
            self.assertNotContains(response, text)
        # Also if someone sends the form all the same
        self.assertContains(self.confirm(response), "Nothing was changed.")

    def test_keeps_line_endings_inside_cells(self):
        self.confirm(self.preview('reference,name,address\nR1,Acme,"a\nb"\n'))
        self.assertEqual(Organization.objects.get().address, "a\nb")

    def test_shows_a_new_preview_if_it_would_do_something_else_by_now(self):
        response = self.preview("reference,name,phone\nR1,Acme,2\n")
        Organization.objects.update(phone="7")
        response = self.confirm(response)
        self.assertContains(response, "phone: “7” → “2”")
        self.assertContains(response, "Nothing was imported yet.")
        self.confirm(response)
        self.assertEqual(Organization.objects.get().phone, "2")

    def test_names_the_problems_and_changes_nothing(self):
        response = self.preview(
            "reference,name,admins\n"
            "R1,New,anna@example.com\n"
            "R2,Other,nobody@example.com; x\n"
        )
        self.assertContains(response, "Nothing was imported.")
        self.assertContains(
            response, "line 3, column “admins”, “x”: Enter a valid email address."
        )
        response = self.preview("reference,name,admins\nR1,New,nobody@example.com\n")
        self.assertContains(
            response, "“nobody@example.com”: Nobody has this email address."
        )
        response = self.preview(
            "name,admins,reviewers\nNew,anna@example.com,anna@example.com\n"
        )
        self.assertContains(response, "This person would get two roles here.")
        self.assertEqual(Organization.objects.get().name, "Acme")

    def test_a_change_by_someone_else_at_the_same_time_refuses_the_file(self):
        for error in (Organization.DoesNotExist, PermissionDenied, IntegrityError):
            with mock.patch(
                "orgadmin.records.imports.writing.change_roles", side_effect=error
            ):
                response = self.preview(
                    "reference,name,admins\nR1,New,anna@example.com\n"
                )
            self.assertContains(
                response,
                "Someone else changed or deleted organizations in this file during the"
                " import.",
            )
        self.assertEqual(Organization.objects.get().name, "Acme")

    def test_requires_a_file_that_is_not_too_long(self):
        for text in ("", "ä", "no base64"):
            self.assertContains(
                self.client.post(IMPORT, {"text": text}), "Choose a file."
            )
        # Reading as many rows as real files may have takes half a minute.
        limits = replace(PAGE_LIMITS, rows=REQUEST_LIMITS.rows)
        for module in (import_form, stored_imports):
            self.enterContext(mock.patch.object(module, "PAGE_LIMITS", limits))
        self.assertContains(
            self.preview("name\n" + "x\n" * (limits.rows + 2)),
            f"The file has {limits.rows + 2:,} rows, and at most {limits.rows:,} can be"
            " imported.",
        )
        self.assertEqual(Organization.objects.count(), 1)

    def test_invites_unknown_addresses_only_when_told_to(self):
        text = "reference,name,reviewers\nR1,Acme,new@example.com\n"
        response = self.preview(text, send_mail="on")
        self.assertContains(response, "new@example.com is invited as Reviewer")
        self.assertFalse(self.acme.invitations.exists())
        self.confirm(response, send_mail="on")
        self.assertEqual(self.acme.invitations.get().email, "new@example.com")
        self.assertContains(
            self.preview(text, send_mail="on"),
            "<li>Leave 1 organization unchanged</li>",
            html=True,
        )

    @tag("D19")
    def test_gives_no_role_to_an_address_that_a_user_manager_chose(self):
        puppet = create_account("ceo", create_user("manager"))
        text = "reference,name,admins\nR1,Acme,ceo@example.com\n"
        self.assertContains(self.preview(text), "has not confirmed it")
        self.confirm(self.preview(text, send_mail="on"), send_mail="on")
        self.assertFalse(puppet.groups.exists())
        self.assertEqual(self.acme.invitations.get().email, "ceo@example.com")

    @tag("D19")
    def test_gives_a_role_to_an_address_that_a_superuser_or_a_command_chose(self):
        by_command = create_user("bea", email="bea@example.com")
        by_superuser = create_account("cleo", create_superuser("other"))
        text = "reference,name,reviewers\nR1,Acme,bea@example.com; cleo@example.com\n"
        self.confirm(self.preview(text))
        for user in (by_command, by_superuser):
            self.assertTrue(user.groups.filter(pk=self.acme.reviewer_id).exists())

    @tag("D19")
    def test_a_role_that_a_doubtful_person_already_has_is_no_change(self):
        bea = create_account("bea", create_user("manager"))
        set_role(self.acme, [bea], REVIEWER)
        text = "reference,name,{}\nR1,Acme,bea@example.com\n"
        response = self.preview(text.format("reviewers"))
        self.assertContains(response, "Leave 1 organization unchanged")
        response = self.preview(text.format("admins"))
        self.assertContains(response, "has not confirmed it")

    def test_shows_all_values_of_new_organizations(self):
        response = self.preview("name,phone,address\nNew,030 1,Weg 1\n")
        self.assertContains(response, "phone: “030 1”")
        self.assertContains(response, "address: “Weg 1”")

    def test_reads_workbooks_and_lets_people_choose_the_sheet(self):
        book = make_workbook({"A": [["name"], ["First"]], "B": [["name"], ["Second"]]})
        file = SimpleUploadedFile("book.xlsx", book)
        response = self.upload(file)
        self.assertContains(response, "The file was read as: workbook, sheet “A”")
        self.assertContains(response, "First")
        self.assertContains(
            response, '<option value="A" selected>A</option>', html=True
        )
        response = self.confirm(response, sheet="B")
        self.assertContains(response, "Nothing was imported yet.")
        self.assertContains(response, "Second")
        self.confirm(response, sheet="B")
        self.assertTrue(Organization.objects.filter(name="Second").exists())
        self.assertFalse(Organization.objects.filter(name="First").exists())

    def test_a_name_that_no_sheet_has_is_refused(self):
        for name in ("C", "-", "--help", "9" * 5_000, "x" * 200_000):
            file = io.BytesIO(make_workbook({"A": [["name"], ["x"]]}))
            file.name = "two.xlsx"
            with self.subTest(name[:10]):
                response = self.upload(file, sheet=name)
                self.assertEqual(response.status_code, 200)
                self.assertNotIn("report", response.context)

    def test_shows_the_encoding_and_lets_people_choose_another(self):
        file = SimpleUploadedFile("a.csv", "name\nMüller\n".encode("cp1252"))
        response = self.upload(file)
        self.assertContains(response, "CSV, Windows-1252, separated by commas")
        self.assertContains(response, "Müller")
        self.assertContains(
            response,
            '<option value="cp1252" selected>Windows-1252</option>',
            html=True,
        )
        response = self.confirm(response, encoding="mac_roman")
        self.assertContains(response, "CSV, Mac Roman, separated by commas")
        self.assertFalse(Organization.objects.filter(name="Müller").exists())

    def test_a_file_that_was_refused_can_be_read_with_another_encoding(self):
        file = SimpleUploadedFile("a.csv", "name\nРоссия\n".encode("cp1251"))
        response = self.upload(file)
        self.assertContains(response, "cannot be recognized")
        url = response.request["PATH_INFO"]
        data = {"encoding": "cp1251", "preview": "1"}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "Россия")

    def test_empties_the_fields_that_people_tick(self):
        text = "reference,name,phone\nR1,Acme,\n"
        response = self.preview(text)
        self.assertContains(response, "Leave 1 organization unchanged")
        response = self.update(response, clear_blank="phone")
        self.assertContains(response, "<li>Empty 1 value</li>", html=True)
        self.assertContains(response, "phone: “1” → “” (emptied)")
        self.assertEqual(Organization.objects.get().phone, "1")
        self.confirm(response, clear_blank="phone")
        self.assertEqual(Organization.objects.get().phone, "")

    def update(self, response, **data):
        """Press the button that shows the preview again, with other choices."""
        page = response.content.decode()
        seen = re.search(r'name="seen" value="(\w+)"', page)[1]
        url = response.request["PATH_INFO"]
        data |= {"seen": seen, "preview": "1"}
        return self.client.post(url, data, follow=True)

    @tag("E15")
    def test_imports_warnings_only_with_a_tick(self):
        response = self.preview("reference,name,phone\nR1,Acme,4.9E+11\n")
        self.assertContains(response, "“4.9E+11”: damaged number.")
        self.assertContains(response, "Warnings (1)")
        self.assertContains(response, "phone: “1” → “4.9E+11” (damaged number)")
        response = self.confirm(response)
        self.assertContains(response, "Nothing was imported. Look at the warnings.")
        self.assertEqual(Organization.objects.get().phone, "1")
        response = self.confirm(response, accepts_warnings="on")
        self.assertContains(response, "1 organization was changed.")
        self.assertEqual(Organization.objects.get().phone, "4.9E+11")

    def test_lists_what_it_skips_and_imports_it_with_a_tick(self):
        response = self.preview("List of 2026\nname,notes\nNew,a\nTotal,1\n")
        self.assertContains(response, "line 1, “List of 2026”: stands above the header")
        self.assertContains(response, "line 4, “Total | 1”: looks like a total")
        self.assertContains(response, "<li>Skip 2 rows</li>", html=True)
        response = self.update(response, keeps_totals="on")
        self.assertContains(response, "Create 2 organizations")

    def test_what_the_preview_shows_as_chosen_is_no_other_choice(self):
        for text in ("name\nNew\n", "name\nNéw\n"):
            for encoding in ("utf-8", "cp1252"):
                file = SimpleUploadedFile("a.csv", text.encode(encoding))
                response = self.upload(file)
                chosen = response.context["report"].format.encoding
                response = self.confirm(
                    response, encoding=chosen, accepts_warnings="on"
                )
                self.assertContains(response, "1 organization was created.")

    def test_a_preview_can_be_updated_again_and_again(self):
        response = self.preview("name\nNew\n")
        for _number in range(3):
            response = self.update(response)
            self.assertContains(response, "Nothing was imported yet.")
        self.confirm(response)
        self.assertTrue(Organization.objects.filter(name="New").exists())

    def test_lists_a_hundred_problems_and_says_how_many_more_there_are(self):
        response = self.preview("name,email\n" + "New,x\n" * 130)
        self.assertContains(response, "Enter a valid email address.", count=100)
        self.assertContains(response, "Fix these 130 problems")
        self.assertContains(response, "and 30 more")

    @tag("A41")
    def test_is_for_superusers(self):
        for user in (
            create_user("a", admin_of=[self.acme]),
            create_user("s", is_staff=True),
        ):
            self.client.force_login(user)
            self.assertEqual(self.preview("name\nNew\n").status_code, 403)
            self.assertNotIn(IMPORT, self.client.get(LIST).content.decode())


class ExportTests(TestCase):
    def setUp(self):
        self.own = create_organization(
            "=Own", tax_id="T1", phone="+49 30", address="a\nb", reference="R1"
        )
        self.other = create_organization("'=Other", tax_id="T-2", notes="secret")
        create_organization("Hidden")
        self.user = create_user(
            "anna",
            email="anna@example.com",
            admin_of=[self.own],
            reviewer_of=[self.other],
        )

    def export(self, user, query=""):
        self.client.force_login(user)
        response = self.client.get(f"{LIST}export/{query}")
        self.assertRegex(
            response["Content-Disposition"],
            r'attachment; filename="organizations-\d{4}-\d\d-\d\d.csv"',
        )
        return response.getvalue()

    @tag("A41", "A3")
    def test_contains_what_the_person_may_view(self):
        text = self.export(self.user).decode()
        for hidden in ("Hidden", "T-2", "secret", "anna@example.com", "Admin"):
            self.assertNotIn(hidden, text)
        admin = create_user("ada", admin_of=[self.own])
        self.assertIn("T1", self.export(admin).decode())

    @tag("A41")
    def test_leaves_out_columns_that_the_person_may_not_see_in_every_row(self):
        reviewer = create_user("bert", reviewer_of=[self.other])
        for person in (self.user, reviewer):
            header = self.export(person).decode("utf-8-sig").splitlines()[0]
            self.assertEqual(
                header, "id,id_key,name,reference,website,email,phone,address"
            )

    def test_what_a_reviewer_exported_empties_nothing_when_it_is_imported(self):
        reviewer = create_user("bert", reviewer_of=[self.other])
        for person in (self.user, reviewer):
            file = io.BytesIO(self.export(person))
            report = import_organizations(file, actor=create_superuser(f"by-{person}"))
            self.assertEqual(report.changed, 0)
        self.other.refresh_from_db()
        self.assertEqual((self.other.tax_id, self.other.notes), ("T-2", "secret"))

    def test_names_the_ends_of_members_and_can_be_imported_again(self):
        day = find_today() + timedelta(days=30)
        ends_at = find_start_of_next_day(day)
        rows = Membership.objects.filter(user=self.user, group=self.own.admin)
        # It does not end with the day. A file has only days, so this is not a change.
        early = ends_at - timedelta(hours=5)
        rows.update(ends_at=early)
        file = self.export(create_superuser())
        self.assertIn(f",anna@example.com until {day},\r\n".encode(), file)
        report = import_organizations(io.BytesIO(file))
        self.assertEqual((report.changed, report.people, report.ends), (0, 0, 0))
        self.assertEqual(report.ignored, [])
        without = file.replace(f" until {day}".encode(), b"")
        report = import_organizations(io.BytesIO(without))
        self.assertEqual((report.changed, report.people, report.ends), (0, 0, 0))
        self.assertEqual(rows.get().ends_at, early)

    def export_workbook(self, user, query=""):
        """Return the cells of the workbook that a person downloads."""
        self.client.force_login(user)
        response = self.client.get(f"{LIST}export/xlsx/{query}")
        self.assertRegex(
            response["Content-Disposition"],
            r'attachment; filename="organizations-\d{4}-\d\d-\d\d.xlsx"',
        )
        file = io.BytesIO(response.getvalue())
        sheet = read_workbook(file, "", max_rows=100, max_text=100_000)
        return [record.cells for record in sheet.records]

    @tag("A41", "A3")
    def test_a_workbook_has_the_rows_and_columns_of_the_csv_file(self):
        for person in (self.user, self.own_admin(), create_superuser()):
            text = self.export(person).decode("utf-8-sig")
            rows = list(csv.reader(io.StringIO(text, newline="")))
            plain = [[unescape_formula(cell) for cell in row] for row in rows]
            self.assertEqual(self.export_workbook(person), plain)
        found = self.export_workbook(create_superuser("root2"), "?q=Hid&o=1")
        self.assertEqual([row[2] for row in found[1:]], ["Hidden"])

    def own_admin(self):
        return create_user("ada", admin_of=[self.own])

    def test_a_workbook_in_which_not_everything_fits_leads_back_with_a_reason(self):
        self.own.notes = "x" * 40_000
        self.own.save()
        self.client.force_login(create_superuser())
        response = self.client.get(f"{LIST}export/xlsx/", follow=True)
        self.assertRedirects(response, LIST)
        self.assertContains(response, "as CSV instead.")

    @tag("A41")
    def test_tells_only_superusers_when_access_ends(self):
        ends_at = find_start_of_next_day(find_today())
        Membership.objects.update(ends_at=ends_at)
        clerk = create_user(
            "clerk",
            is_staff=True,
            permissions=["view_organization", "view_confidential_organization"],
        )
        for person in (self.user, clerk):
            self.assertNotIn(b"until", self.export(person))
        self.assertIn(b"until", self.export(create_superuser()))

    def test_an_import_that_changes_a_role_keeps_the_end(self):
        self.user.verify_email()
        day = find_today() + timedelta(days=30)
        ends_at = find_start_of_next_day(day)
        Membership.objects.filter(user=self.user, group=self.own.admin).update(
            ends_at=ends_at
        )
        text = (
            "id,id_key,name,admins,reviewers\n"
            f"{id_cells(self.own.pk)},'=Own,,anna@example.com\n"
        )
        options = ImportOptions(accepts_warnings=True)
        report = import_organizations(as_file(text), options=options)
        self.assertEqual(report.people, 1)
        [row] = Membership.objects.filter(group__in=self.own.group_ids)
        self.assertEqual(row.group, self.own.reviewer)
        self.assertEqual(row.ends_at, ends_at)

    @tag("A41")
    def test_hides_a_field_if_access_ends_while_the_file_is_written(self):
        admin = create_user("ada", admin_of=[self.own])
        rows = list_organizations(Organization.objects.permitted(admin), admin)
        self.assertIn("tax_id", next(rows))
        self.own.group_grants.filter(
            permission__codename="view_confidential_organization"
        ).delete()
        self.assertNotIn("T1", next(rows))

    @tag("E3")
    def test_cells_that_a_spreadsheet_would_run_are_disarmed(self):
        text = self.export(self.user).decode()
        for cell in ("'=Own", "''=Other", "'+49 30"):
            self.assertIn(f",{cell},", text)

    def test_follows_the_search(self):
        text = self.export(create_superuser(), "?q=Hid&o=1").decode()
        rows = text.splitlines()[1:]
        names = [row.split(",")[2] for row in rows]
        self.assertEqual(names, ["Hidden"])

    def test_a_filter_that_does_not_exist_is_a_bad_request(self):
        self.client.force_login(self.user)
        for query in ("nonsense=1", "notes__regex=x"):
            self.assertEqual(
                self.client.get(f"{LIST}export/?{query}").status_code, 400, query
            )

    def test_gives_the_same_file_back(self):
        file = self.export(create_superuser())
        self.assertIn(b"anna@example.com", file)
        report = import_organizations(io.BytesIO(file))
        self.assertEqual(report.created, 0)
        self.assertEqual(report.changed, 0)
        self.assertEqual(report.unchanged, 3)
        self.assertEqual(report.people, 0)
        anna = User.objects.get(username="anna")
        anna.groups.remove(self.own.admin)
        anna.verify_email()
        report = import_organizations(io.BytesIO(file))
        self.assertEqual(report.unchanged, 2)
        self.assertEqual(report.people, 1)
        self.assertIn(self.own.admin, self.user.groups.all())
        self.assertEqual(ADMIN.key, "admin")
        self.assertEqual(self.export(create_superuser("root2")), file)

    def test_costs_queries_by_the_batch(self):
        root = create_superuser()
        Organization.objects.bulk_create(
            Organization(name=f"N {n}") for n in range(500)
        )
        self.client.force_login(root)
        self.client.get(f"{LIST}export/").getvalue()
        # Session, user, a page of the list and its count, the entry of the audit log,
        # the permission on all, all keys, all rows, and their people.
        with self.assertNumQueries(9):
            self.client.get(f"{LIST}export/").getvalue()
        with self.assertNumQueries(9):
            self.client.get(f"{LIST}export/xlsx/").getvalue()
