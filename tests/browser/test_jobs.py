"""What people come to do, from the home page to the end."""

import io
import re
import time
from datetime import timedelta
from urllib.parse import urlsplit

from django.core import mail
from django.utils import timezone
from playwright.sync_api import expect

from orgadmin.models import Organization, ReviewScope, User
from orgadmin.people import archive
from orgadmin.people.review_items import prepare
from orgadmin.people.reviews import start_review
from orgadmin.records.imports.workbooks import read_workbook
from orgadmin.records.xlsx_files import write_workbook
from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import Finger, Hand, Keys
from tests.factories import create_organization, create_superuser, create_user, id_cells

# How many presses each job may take, beginning with the home page and not counting
# typed text: clicks, taps, and keys if there is nothing but a keyboard. Of keys, one
# more may be needed: a page can put the focus into a field after the first one.
PRESSES = {
    "sign_in": (2, 2, 4),
    "open": (1, 1, 5),
    "find": (3, 3, 10),
    "edit": (4, 4, 30),
    "add_a_contact": (5, 5, 27),
    "add_a_person": (7, 7, 39),
    "invite": (9, 9, 42),
    "change_a_role": (4, 4, 48),
    "remove_a_person": (5, 5, 44),
    "members_on_a_day": (4, 4, 24),
    # On a phone, the navigation is a menu.
    "offboard": (4, 5, 40),
    "offboard_with_a_successor": (5, 6, 50),
    "give_a_role_in_many_organizations": (7, 8, 60),
    "give_a_role_from_the_list": (8, 9, 60),
    "replace_a_person": (8, 9, 60),
    "end_access_of_several": (7, 8, 60),
    "see_why_someone_has_access": (4, 4, 20),
    "import": (4, 4, 18),
    "export": (2, 2, 12),
    "fill_in_the_template": (5, 5, 30),
    "fill_in_the_template_for_people": (6, 6, 36),
    "import_a_german_workbook": (4, 4, 24),
    "import_a_workbook_with_a_title": (4, 4, 18),
    "import_a_hubspot_export": (4, 4, 18),
    "import_a_file_with_bad_rows": (10, 10, 40),
    "import_a_damaged_phone_column": (7, 7, 28),
    "import_people": (5, 5, 25),
    "import_people_among_organizations": (5, 5, 22),
    "invite_people_from_a_file": (7, 7, 32),
    "change_a_possible_duplicate": (7, 7, 40),
    "undo_an_import": (6, 6, 40),
    "restore_an_earlier_version": (6, 6, 41),
    "archive": (6, 6, 24),
    # On a phone, the navigation is a menu.
    "restore_from_the_archive": (5, 6, 36),
    "delete_from_the_archive": (6, 7, 37),
    # Two for everyone, and two more to end the access of one person.
    "review_12_people": (4, 4, 120),
}

# How many steps each job may take with the mouse: presses without those that only lead
# to a field for text. Jobs begin on the page of the organization if there is one.
STEPS = {
    "open": 1,
    "edit": 2,
    "add_a_contact": 3,
    "invite": 3,
    "change_a_role": 3,
    "remove_a_person": 3,
    "see_why_someone_has_access": 2,
    "members_on_a_day": 3,
    "review_12_people": 4,
    "restore_an_earlier_version": 5,
    "add_a_person": 7,
    "import": 5,
    "export": 2,
    "archive": 4,
    "restore_from_the_archive": 4,
    "delete_from_the_archive": 5,
    "offboard": 4,
}


def read_link():
    """Return the path of the link in the email that was sent first.

    Some mail is sent after the response, so this waits for it.
    """
    end = time.monotonic() + 10
    while not mail.outbox and time.monotonic() < end:
        time.sleep(0.05)
    address = re.search(r"https?://\S+", mail.outbox[0].body)[0]
    return urlsplit(address).path


class Jobs:
    """The jobs. A subclass says which hand does them."""

    hand_class = Hand
    column = 0  # of PRESSES

    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme", phone="1", tax_id="T-1")
        self.beta = create_organization("Beta")
        create_organization("Foreign")
        self.anna = create_user(
            "anna", first_name="Anna", admin_of=[self.acme], reviewer_of=[self.beta]
        )
        create_user("bert", reviewer_of=[self.acme])
        create_superuser("root")
        self.hands = []

    def tearDown(self):
        job = self._testMethodName.removeprefix("test_")
        presses = sum(hand.presses for hand in self.hands)
        self.assertLessEqual(presses, PRESSES[job][self.column])
        super().tearDown()

    def come(self, page, address="/admin/"):
        """Return a hand that has opened a page. Its presses count."""
        hand = self.hand_class(page)
        self.hands.append(hand)
        hand.open(address)
        return hand

    def enter_password(self, hand):
        hand.fill(hand.field("Password:"), "secret")
        hand.press(hand.button("Sign in"))

    def enter(self, username):
        """Return the hand of someone who has signed in, which did not count."""
        hand = self.come(self.page)
        hand.fill(hand.field("Username or email address:"), username)
        self.enter_password(hand)
        hand.presses = 0
        hand.begin()
        return hand

    def enter_organization(self, username, name):
        """Return the hand of someone who has opened an organization from their home."""
        hand = self.enter(username)
        hand.press(hand.link(name).first)
        hand.begin()
        return hand

    def sees(self, text):
        expect(self.page.get_by_text(text).first).to_be_visible()

    def find(self, hand, name):
        """As platform staff: search at the top of the page, and open the result."""
        hand.fill(hand.field("Search organizations, people"), name)
        hand.enter()
        hand.press(hand.link(name).first)

    def test_sign_in(self):
        hand = self.come(self.page)
        hand.fill(hand.field("Username or email address:"), "anna")
        self.enter_password(hand)
        card = self.page.get_by_role("heading", name="Acme").get_by_role("link")
        expect(card).to_be_visible()
        expect(self.page.get_by_text("Foreign")).to_have_count(0)

    def test_open(self):
        hand = self.enter("anna")
        hand.press(hand.link("Acme").first)
        expect(self.page.get_by_role("heading", name="Acme")).to_be_visible()

    def test_find(self):
        hand = self.enter("root")
        self.find(hand, "Foreign")
        expect(self.page.get_by_role("heading", name="Foreign")).to_be_visible()

    def test_edit(self):
        hand = self.enter_organization("anna", "Acme")
        hand.press(hand.link("Edit"))
        hand.fill(hand.field("Phone:"), "+49 30 1234")
        hand.press(hand.button("Save"))
        self.sees("was changed successfully")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "+49 30 1234")

    def test_add_a_contact(self):
        hand = self.enter_organization("anna", "Acme")
        hand.press(hand.tab("Contacts"))
        hand.press(hand.link("Add contact"))
        hand.fill(hand.field("Name:"), "Carla")
        hand.press(hand.button("Save"))
        self.sees("was added successfully")
        self.assertEqual(self.acme.contacts.get().name, "Carla")

    def test_add_a_person(self):
        hand = self.enter("root")
        self.find(hand, "Foreign")
        hand.press(hand.tab("People"))
        hand.fill(hand.field("Name or email address"), "anna")
        hand.choose(hand.field("Admin"))
        hand.press(hand.button("Add person"))
        self.sees("“Anna” is now Admin of “Foreign”.")

    def test_invite(self):
        hand = self.enter_organization("anna", "Acme")
        hand.press(hand.tab("People"))
        hand.fill(hand.field("Name or email address"), "nora@example.com")
        hand.choose(hand.field("Admin"))
        hand.press(hand.button("Add person"))
        self.sees("An invitation is on its way to “nora@example.com”.")

        nora = self.come(self.open_page(), read_link())
        nora.fill(nora.field("First name:"), "Nora")
        nora.fill(nora.field("New password:"), "correct horse battery")
        nora.fill(nora.field("New password confirmation:"), "correct horse battery")
        nora.press(nora.button("Accept invitation"))
        expect(nora.page.get_by_role("heading", name="Acme")).to_be_visible()

    def test_change_a_role(self):
        hand = self.enter_organization("anna", "Acme")
        hand.press(hand.tab("People"))
        hand.press(hand.link("Change role of bert"))
        hand.press(hand.button("Change role of bert"))
        self.sees("“bert” is now Admin of “Acme”.")

    def test_review_12_people(self):
        for number in range(12):
            create_user(f"member-{number}", reviewer_of=[self.acme])
        review = start_review(
            ReviewScope.ALL, due_on=timezone.localdate() + timedelta(days=14)
        )
        prepare(review.pk)
        hand = self.enter("anna")
        hand.press(self.page.get_by_role("link", name="Review access by").first)
        hand.press(hand.link("End the access of member-3"))
        hand.press(hand.button("End the access of member-3"))
        self.sees("The access of “member-3” has ended.")
        # With Anna, who is the only admin, and Bert.
        hand.press(hand.button("Confirm all 13 people"))
        self.sees("The access of 13 people is confirmed.")
        self.sees("Everyone has been reviewed. Thank you.")
        section = review.sections.get(organization_key=self.acme.pk)
        self.assertEqual(section.open_items, 0)

    def test_members_on_a_day(self):
        hand = self.enter_organization("anna", "Acme")
        hand.press(hand.tab("People"))
        hand.press(hand.link("Members on a day…"))
        self.page.locator("#id_on").fill(timezone.localdate().isoformat())
        hand.press(hand.button("Show members"))
        self.sees("2 people were members at the end of")

    def test_offboard(self):
        hand = self.enter("root")
        hand.navigate("People")
        hand.press(hand.link("bert"))
        hand.press(hand.link("Offboard bert"))
        hand.press(hand.button("Offboard bert"))
        self.sees("was offboarded")

    def test_offboard_with_a_successor(self):
        hand = self.enter("root")
        hand.navigate("People")
        hand.press(hand.link("Anna anna"))
        hand.press(hand.link("Offboard Anna"))
        hand.fill(hand.field("Person who becomes admin"), "bert")
        hand.press(hand.button("Offboard Anna"))
        self.sees("was offboarded")
        self.assertEqual(self.acme.admin.user_set.get().username, "bert")

    def open_bulk_changes(self):
        hand = self.enter("root")
        hand.navigate("People")
        hand.press(hand.link("Bulk changes"))
        return hand

    def test_give_a_role_in_many_organizations(self):
        hand = self.open_bulk_changes()
        hand.fill(self.page.locator("#id_who"), "bert")
        hand.fill(self.page.locator("#id_places"), "Acme\nBeta")
        hand.choose(self.page.get_by_role("radio", name="Admin"))
        hand.press(hand.button("Show preview"))
        self.sees("Nothing was changed yet.")
        hand.press(hand.button("Give role"))
        self.sees("2 roles were changed.")

    def test_give_a_role_from_the_list(self):
        hand = self.enter("root")
        hand.navigate("Organizations")
        hand.tick(self.page.get_by_role("checkbox", name=re.compile("Beta")))
        action = self.page.get_by_label("Action:")
        hand.reach(action)
        action.select_option("give_role")
        hand.press(hand.button("Go"))
        self.sees("In 1 organization that you selected")
        hand.fill(self.page.locator("#id_who"), "bert")
        hand.choose(self.page.get_by_role("radio", name="Admin"))
        hand.press(hand.button("Show preview"))
        hand.press(hand.button("Give role"))
        self.sees("1 role was changed.")

    def test_replace_a_person(self):
        hand = self.open_bulk_changes()
        hand.press(hand.tab("Replace a person"))
        hand.fill(self.page.locator("#id_old"), "anna")
        hand.fill(self.page.locator("#id_new"), "bert")
        hand.choose(self.page.get_by_role("radio", name="End"))
        hand.press(hand.button("Show preview"))
        hand.press(hand.button("Replace Anna with bert"))
        self.sees("4 roles were changed.")

    def test_end_access_of_several(self):
        hand = self.open_bulk_changes()
        hand.press(hand.tab("End access"))
        hand.fill(self.page.locator("#id_people"), "bert")
        hand.choose(self.page.get_by_role("radio", name="All access"))
        hand.press(hand.button("Show preview"))
        hand.press(hand.button("End access of 1 person"))
        self.sees("1 person was offboarded.")

    def test_remove_a_person(self):
        hand = self.enter_organization("anna", "Acme")
        hand.press(hand.tab("People"))
        hand.press(hand.link("Remove bert"))
        hand.fill(hand.field("Reason (optional):"), "Moved on")
        hand.press(hand.button("Remove bert from Acme"))
        self.sees("“bert” was removed from “Acme”.")
        expect(hand.link("Remove bert")).to_have_count(0)

    def test_see_why_someone_has_access(self):
        hand = self.enter("root")
        self.find(hand, "Beta")
        hand.begin()
        hand.press(hand.tab("Access"))
        row = self.page.get_by_role("row", name="anna")
        expect(row.get_by_text("Is in its Reviewer group")).to_be_visible()

    def test_import(self):
        hand = self.enter("root")
        hand.press(hand.link("Import organizations"))
        text = f"id,id_key,name,phone\n{id_cells(self.acme.pk)},Acme,2\n,,Imported,3\n"
        hand.give(hand.field("Spreadsheet or CSV file:"), text)
        hand.press(hand.button("Preview import"))
        self.sees("“1” → “2”")
        hand.press(hand.button("Import organizations"))
        self.sees("1 organization was created. 1 organization was changed.")

    def choose_file(self, hand, content, name="file.csv"):
        """Go to the import, and upload a file."""
        hand.press(hand.link("Import organizations"))
        hand.give(hand.field("Spreadsheet or CSV file:"), content, name)
        hand.press(hand.button("Preview import"))

    def test_fill_in_the_template(self):
        hand = self.enter("root")
        hand.press(hand.link("Import organizations"))
        link = hand.link("download the template")
        template = io.BytesIO(hand.download_bytes(link))
        sheet = read_workbook(template, "", max_rows=10, max_text=10_000)
        rows = [record.cells for record in sheet.records]
        filled = io.BytesIO()
        write_workbook(filled, [*rows, ["Filled in", "007"]], "Organizations")
        field = hand.field("Spreadsheet or CSV file:")
        hand.give(field, filled.getvalue(), "template.xlsx")
        hand.press(hand.button("Preview import"))
        self.sees("is the example row of the template")
        hand.press(hand.button("Import organizations"))
        self.sees("1 organization was created.")
        stored = Organization.objects.get(name="Filled in")
        self.assertEqual(stored.reference, "007")

    def test_import_a_german_workbook(self):
        rows = [
            ["Kundenliste 2026"],
            ["Kd.-Nr.", "Firma", "Telefon", "PLZ", "Ort"],
            ["0042", "Müller GmbH", "030 1234", "01067", "Dresden"],
            ["Summe", "1"],
        ]
        file = io.BytesIO()
        write_workbook(file, rows, "Tabelle1")
        hand = self.enter("root")
        self.choose_file(hand, file.getvalue(), "kunden.xlsx")
        self.sees("stands above the header")
        self.sees("looks like a total")
        hand.press(hand.button("Import organizations"))
        self.sees("1 organization was created.")
        stored = Organization.objects.get(name="Müller GmbH")
        self.assertEqual((stored.reference, stored.address), ("0042", "01067 Dresden"))

    def test_import_a_workbook_with_a_title(self):
        rows = [
            ["Customers of the northern region"],
            ["as of November 2026"],
            [],
            ["Customer no.", "Company", "Phone"],
            ["N-1", "North Ltd", "020 7946 0001"],
        ]
        file = io.BytesIO()
        write_workbook(file, rows, "Sheet1")
        hand = self.enter("root")
        self.choose_file(hand, file.getvalue(), "customers.xlsx")
        self.sees("stands above the header")
        hand.press(hand.button("Import organizations"))
        self.sees("1 organization was created.")
        self.assertEqual(Organization.objects.get(reference="N-1").name, "North Ltd")

    def test_import_a_hubspot_export(self):
        text = (
            "Record ID,Company name,Company owner,Create Date,Phone Number,"
            "Last Activity Date,City,Country/Region,Industry,Company Domain Name\n"
            "88,Hub One,Ann Lee,2026-03-04 10:11,+44 20 7946 0001,,London,"
            "United Kingdom,RETAIL,hub-one.example\n"
            "89,Hub Two,,2026-03-05 12:13,+44 20 7946 0002,,Leeds,"
            "United Kingdom,,hub-two.example\n"
        )
        hand = self.enter("root")
        self.choose_file(hand, text, "hubspot-crm-exports-all-companies.csv")
        self.sees("Create 2 organizations")
        hand.press(hand.button("Import organizations"))
        self.sees("2 organizations were created.")
        stored = Organization.objects.get(name="Hub One")
        self.assertEqual(stored.address, "London\nUnited Kingdom")
        self.assertEqual(stored.website, "https://hub-one.example")

    def test_import_a_file_with_bad_rows(self):
        lines = [f"G-{number},Good {number},\n" for number in range(30)]
        bad = [f"B-{number},Bad {number},info at x.example\n" for number in range(10)]
        text = "".join(["reference,name,email\n", *lines, *bad])
        hand = self.enter("root")
        self.choose_file(hand, text)
        self.sees("Fix these 10 problems")
        hand.press(hand.button("Preview import of the 30 valid rows"))
        hand.press(hand.button("Import organizations"))
        self.sees("30 organizations were created.")
        rest = hand.download(hand.link("Download these rows"))
        hand.press(hand.link("Upload another file"))
        field = hand.field("Spreadsheet or CSV file:")
        hand.give(field, rest.replace(" at ", "@"), "rest.csv")
        hand.press(hand.button("Preview import"))
        hand.press(hand.button("Import organizations"))
        self.sees("10 organizations were created.")
        self.assertEqual(
            Organization.objects.filter(name__startswith="Bad").count(), 10
        )

    def test_import_a_damaged_phone_column(self):
        text = "name,phone\nDamaged,4.91512E+11\nWhole,+49 151 2345678\n"
        hand = self.enter("root")
        self.choose_file(hand, text)
        self.sees("damaged number")
        hand.press(hand.link("Upload the file again"))
        field = hand.field("Spreadsheet or CSV file:")
        hand.give(field, text.replace("4.91512E+11", "+49 151 2345679"))
        hand.press(hand.button("Preview import"))
        hand.press(hand.button("Import organizations"))
        self.sees("2 organizations were created.")
        phones = Organization.objects.filter(phone__contains="E+")
        self.assertFalse(phones.exists())

    def open_people_import(self):
        hand = self.enter("root")
        hand.press(hand.link("Import organizations"))
        hand.press(hand.link("Import people"))
        return hand

    def give_people(self):
        """Return a file that gives people roles in organizations with a reference."""
        Organization.objects.filter(pk=self.beta.pk).update(reference="B-1")
        User.objects.filter(username="bert").update(email="bert@example.com")
        return (
            "E-Mail;Kundennummer;Rolle;Bis\n"
            "bert@example.com;B-1;Administrator;31.12.2990\n"
        )

    def test_import_people(self):
        text = self.give_people()
        hand = self.open_people_import()
        hand.give(hand.field("Spreadsheet or CSV file:"), text, "people.csv")
        hand.press(hand.button("Preview import"))
        self.sees("bert@example.com, Beta")
        hand.press(hand.button("Import people"))
        self.sees("1 person was given a role.")
        self.assertEqual(self.beta.admin.user_set.get().username, "bert")

    def test_import_people_among_organizations(self):
        text = self.give_people()
        hand = self.enter("root")
        self.choose_file(hand, text, "people.csv")
        self.sees("This is a file of people")
        hand.press(hand.button("Import people"))
        self.sees("bert@example.com, Beta")
        hand.press(hand.button("Import people"))
        self.sees("1 person was given a role.")

    def test_invite_people_from_a_file(self):
        text = self.give_people() + "new@example.com;B-1;Leser;\n"
        hand = self.open_people_import()
        hand.give(hand.field("Spreadsheet or CSV file:"), text, "people.csv")
        hand.press(hand.button("Preview import"))
        self.sees("Nobody has this email address.")
        hand.tick(hand.field("Send emails"))
        hand.press(hand.button("Update preview"))
        self.sees("Invite 1 person")
        hand.press(hand.button("Import people"))
        self.sees("1 person was given a role. 1 person was invited.")

    def test_fill_in_the_template_for_people(self):
        self.give_people()
        hand = self.open_people_import()
        link = hand.link("download the template")
        template = io.BytesIO(hand.download_bytes(link))
        sheet = read_workbook(template, "", max_rows=10, max_text=10_000)
        rows = [record.cells for record in sheet.records]
        filled = io.BytesIO()
        row = ["bert@example.com", "B-1", "Beta", "reviewer", ""]
        write_workbook(filled, [*rows, row], "People")
        field = hand.field("Spreadsheet or CSV file:")
        hand.give(field, filled.getvalue(), "template.xlsx")
        hand.press(hand.button("Preview import"))
        self.sees("is the example row of the template")
        hand.press(hand.button("Import people"))
        self.sees("1 person was given a role.")

    def test_change_a_possible_duplicate(self):
        hand = self.enter("root")
        self.choose_file(hand, "name,phone\nAcme,2\n")
        self.sees("Possible duplicates")
        hand.select(hand.field("Line 2, similar to “Acme”:"), "Change “Acme”")
        hand.press(hand.button("Import organizations"))
        self.sees("“1” → “2”")
        hand.press(hand.button("Import organizations"))
        self.sees("1 organization was changed.")

    def test_undo_an_import(self):
        hand = self.enter("root")
        self.choose_file(hand, "name\nMistake\n")
        hand.press(hand.button("Import organizations"))
        self.sees("1 organization was created.")
        hand.press(hand.link("Undo import…"))
        hand.press(hand.button("Undo import"))
        self.sees("The import was undone.")
        self.assertFalse(Organization.objects.filter(name="Mistake").exists())

    def test_export(self):
        hand = self.enter("anna")
        hand.press(hand.link("Your organizations as a list"))
        text = hand.download(hand.link("Export to CSV"))
        self.assertIn("Acme", text)
        self.assertNotIn("Foreign", text)

    def test_restore_an_earlier_version(self):
        self.acme.phone = "2"
        self.acme.save()
        hand = self.enter("root")
        self.find(hand, "Acme")
        hand.begin()
        hand.press(hand.link("History"))
        hand.press(self.page.get_by_role("link", name="Restore this version").last)
        hand.press(hand.button("Restore this version"))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")

    def test_archive(self):
        hand = self.enter("root")
        self.find(hand, "Beta")
        hand.begin()
        hand.touch(self.page.locator(".more > summary"))
        hand.press(hand.link("Archive Beta"))
        hand.press(hand.button("Archive Beta"))
        self.sees("was archived.")
        self.beta.refresh_from_db()
        self.assertIsNotNone(self.beta.archived_at)

    def test_restore_from_the_archive(self):
        archive.archive([self.beta.pk], actor=None)
        hand = self.enter("root")
        hand.navigate("Organizations")
        hand.begin()
        hand.press(hand.link("Archived organizations"))
        hand.press(hand.link("Beta"))
        hand.press(hand.link("Restore"))
        self.sees("This person has access again:")
        hand.press(hand.button("Restore Beta"))
        self.sees("was restored.")
        self.beta.refresh_from_db()
        self.assertIsNone(self.beta.archived_at)

    def test_delete_from_the_archive(self):
        archive.archive([self.beta.pk], actor=None)
        hand = self.enter("root")
        hand.navigate("Organizations")
        hand.begin()
        hand.press(hand.link("Archived organizations"))
        hand.press(hand.link("Beta"))
        hand.touch(self.page.locator(".more > summary"))
        hand.press(hand.link("Delete Beta permanently"))
        hand.press(hand.button("Delete Beta permanently"))
        self.sees("was deleted permanently.")
        self.assertFalse(Organization.objects.filter(pk=self.beta.pk).exists())


class MouseTests(Jobs, BrowserTestCase):
    def tearDown(self):
        job = self._testMethodName.removeprefix("test_")
        if job in STEPS:
            self.assertLessEqual(self.hands[0].steps, STEPS[job])
        super().tearDown()


class TouchTests(Jobs, BrowserTestCase):
    hand_class = Finger
    column = 1
    viewport = PHONE
    context = {"has_touch": True, "is_mobile": True}


class KeyboardTests(Jobs, BrowserTestCase):
    hand_class = Keys
    column = 2


class JobTests(BrowserTestCase):
    """What people do together, step by step."""

    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme", phone="1", tax_id="T-1")
        self.beta = create_organization("Beta", tax_id="T-2")
        create_organization("Foreign")
        self.anna = create_user(
            "anna", first_name="Anna", admin_of=[self.acme], reviewer_of=[self.beta]
        )
        create_superuser("root")

    def click_button(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def click_link(self, name):
        self.page.get_by_role("link", name=name, exact=True).last.click()

    def sees(self, text, page=None):
        expect((page or self.page).get_by_text(text)).to_be_visible()

    def test_an_org_admin_finds_edits_and_reads_the_history(self):
        page = self.page
        self.sign_in("anna")
        self.click_link("Your organizations as a list")
        expect(page.locator("#result_list tbody tr")).to_have_count(2)
        expect(page.get_by_text("Foreign")).to_have_count(0)
        page.get_by_role("link", name="Acme").click()
        page.get_by_role("link", name="Edit", exact=True).click()
        page.get_by_label("Phone:").fill("+49 30 1234")
        self.click_button("Save")
        self.sees("was changed successfully")
        page.get_by_role("link", name="History", exact=True).click()
        self.sees("Phone: from “1” to “+49 30 1234”.")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "+49 30 1234")

    def test_a_reviewer_reads_and_finds_no_way_to_change(self):
        page = self.page
        self.sign_in("anna")
        page.goto(f"/admin/orgadmin/organization/{self.beta.pk}/change/")
        expect(page.get_by_role("heading", name="Beta")).to_be_visible()
        expect(page.get_by_role("button", name="Save")).to_have_count(0)
        expect(page.get_by_text("T-2")).to_have_count(0)

    def test_platform_staff_create_an_organization_and_the_person_they_add_sees_it(
        self,
    ):
        person = self.open_page()
        self.sign_in("anna", page=person)
        page = self.page
        self.sign_in("root")
        page.goto("/admin/orgadmin/organization/add/")
        page.get_by_label("Name:").fill("Brand New")
        self.click_button("Save")
        page.get_by_role("link", name="Add people").click()
        # The script that suggests people must be there before anyone types.
        page.wait_for_url("**/people/")
        with page.expect_response("**/people/?suggest=ann"):
            page.get_by_label("Name or email address").press_sequentially("ann")
        expect(page.locator("#suggested-people option")).to_have_attribute(
            "value", "anna"
        )
        page.get_by_label("Name or email address").fill("anna")
        page.get_by_label("Admin", exact=True).check()
        self.click_button("Add person")
        self.sees("“Anna” is now Admin of “Brand New”.")
        person.goto("/admin/orgadmin/organization/")
        person.get_by_role("link", name="Brand New").click()
        expect(person.get_by_role("heading", name="Brand New")).to_be_visible()

        self.click_link("Change role of Anna")
        self.click_button("Change role of Anna")
        self.sees("“Anna” is now Reviewer of “Brand New”.")
        self.click_link("Remove Anna")
        page.get_by_label("Reason (optional):").fill("Moved on")
        self.click_button("Remove Anna from Brand New")
        self.sees("“Anna” was removed from “Brand New”.")
        person.reload()
        self.sees("or you no longer have access to it", person)

    def test_an_org_admin_invites_a_new_person_who_sees_the_organization(self):
        page = self.page
        self.sign_in("anna")
        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/change/")
        page.get_by_role("link", name="People", exact=True).click()
        page.get_by_label("Name or email address").fill("nora@example.com")
        page.get_by_label("Admin", exact=True).check()
        self.click_button("Add person")
        self.sees("An invitation is on its way to “nora@example.com”.")
        revoke = "Revoke the invitation for nora@example.com"
        expect(page.get_by_role("link", name=revoke)).to_be_visible()
        self.assertLessEqual(
            page.evaluate("document.documentElement.scrollWidth"),
            self.viewport["width"],
        )

        nora = self.open_page()
        nora.goto(read_link())
        nora.get_by_label("First name:").fill("Nora")
        nora.get_by_label("New password:").fill("correct horse battery")
        nora.get_by_label("New password confirmation:").fill("correct horse battery")
        nora.get_by_role("button", name="Accept invitation").click()
        expect(nora.get_by_role("heading", name="Acme")).to_be_visible()
        nora.goto("/admin/orgadmin/organization/")
        expect(nora.locator("#result_list tbody tr")).to_have_count(1)

        page.reload()
        self.click_link("Change role of Nora")
        self.click_button("Change role of Nora")
        self.sees("“Nora” is now Reviewer of “Acme”.")
        page.get_by_text("More", exact=True).click()
        page.get_by_role("link", name="Membership log").click()
        expect(page.get_by_role("cell", name="Accepted an invitation.")).to_be_visible()
        nora.reload()
        nora.get_by_role("link", name="Acme").click()
        expect(nora.get_by_role("heading", name="Acme")).to_be_visible()
        expect(nora.get_by_role("link", name="People", exact=True)).to_have_count(0)

    def test_a_person_forgot_their_password(self):
        User.objects.filter(pk=self.anna.pk).update(email="anna@example.com")
        # Without the mail about the new address.
        mail.outbox.clear()
        page = self.page
        page.goto("/admin/")
        page.get_by_role("link", name="Forgot your password?").click()
        page.get_by_label("Email address:").fill("anna@example.com")
        page.get_by_role("button", name="Reset my password").click()
        page.goto(read_link())
        page.get_by_label("New password:").fill("correct horse battery")
        page.get_by_label("Confirm password:").fill("correct horse battery")
        page.get_by_role("button", name="Change my password").click()
        self.sign_in("anna", "correct horse battery")

    def test_platform_staff_import_restore_see_why_and_offboard(self):
        page = self.page
        self.sign_in("root")
        page.goto("/admin/orgadmin/organization/")
        page.locator(".head .more > summary").click()
        page.get_by_role("link", name="Import", exact=True).last.click()
        text = f"id,id_key,name,phone\n{id_cells(self.acme.pk)},Acme,2\n,,Imported,3\n"
        file = {"name": "file.csv", "mimeType": "text/csv", "buffer": text.encode()}
        page.get_by_label("Spreadsheet or CSV file:").set_input_files(file)
        page.get_by_role("button", name="Preview import").click()
        self.sees("phone: “1” → “2”")
        self.click_button("Import organizations")
        counts = "1 organization was created. 1 organization was changed."
        expect(page.get_by_text(counts).first).to_be_visible()
        page.goto("/admin/orgadmin/organization/")
        page.locator(".head .more > summary").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Export to CSV").click()
        self.assertIn("Imported", download.value.path().read_text())

        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/history/")
        page.get_by_role("link", name="Restore this version").last.click()
        self.click_button("Restore this version")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")

        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/access/")
        page.get_by_role("link", name="anna").first.click()
        reason = page.get_by_role("cell", name="Is in its Reviewer group")
        expect(reason).to_be_visible()

        page.goto(f"/admin/orgadmin/user/{self.anna.pk}/overview/")
        page.get_by_role("link", name="Offboard Anna").click()
        self.sees("This organization will have no active admin:")
        page.get_by_label("Leave it without an active admin").check()
        self.click_button("Offboard Anna")
        self.sees("was offboarded")

    def test_a_name_that_exists_is_confirmed_by_saving_again(self):
        page = self.page
        self.sign_in("root")
        page.goto("/admin/orgadmin/organization/add/")
        page.get_by_label("Name:").fill("Acme")
        self.click_button("Save")
        self.sees("There is an organization with this name")
        self.click_button("Save")
        self.sees("was added successfully")
        self.assertEqual(Organization.objects.filter(name="Acme").count(), 2)

    def test_the_user_page_chooses_groups_by_search(self):
        page = self.page
        self.sign_in("root")
        page.goto(f"/admin/orgadmin/user/{self.anna.pk}/change/")
        page.locator(".field-groups .select2-selection").click()
        page.keyboard.type("Foreign Rev")
        page.get_by_role("option", name="Foreign Reviewer").click()
        self.click_button("Save")
        self.sees("was changed successfully")
        self.assertTrue(self.anna.groups.filter(name="Foreign Reviewer").exists())


class PhoneJobTests(JobTests):
    viewport = PHONE
