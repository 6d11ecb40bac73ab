import re
from functools import partial
from urllib.parse import urlsplit

from django.core import mail
from playwright.sync_api import expect

from orgadmin.models import Organization, User

from ..factories import create_organization, create_superuser, create_user
from . import PHONE, BrowserTestCase
from .hands import Finger, Hand, Keys

# What each job takes at most, typing left out: clicks or taps, and keys where there is nothing but a keyboard.
PRESSES = {
    "sign_in": (2, 4),
    "find": (3, 17),
    "edit": (3, 30),
    "add_a_person": (8, 44),
    "invite": (8, 39),
    "remove_a_person": (4, 38),
    "see_why_somebody_has_access": (4, 28),
    "import": (5, 52),
    "export": (2, 24),
    "put_back_an_earlier_state": (6, 53),
}


class Jobs:
    """The ten jobs, from the address of the site on. A subclass says with which hand, and how much each may take."""

    hand = Hand
    most = 0  # column of PRESSES

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
        self.assertLessEqual(
            sum(hand.presses for hand in self.hands), PRESSES[job][self.most]
        )
        super().tearDown()

    def come(self, page, address="/admin/"):
        """Return a hand at a page, and the functions that find what it wants there."""
        hand = self.hand(page)
        self.hands.append(hand)
        hand.open(address)
        return (
            hand,
            partial(page.get_by_role, "link"),
            partial(page.get_by_role, "button"),
            page.get_by_label,
        )

    def enter(self, username):
        """Sign in, uncounted."""
        hand, link, button, label = self.come(self.page)
        hand.fill(label("Username:"), username)
        hand.fill(label("Password:"), "secret")
        hand.press(button(name="Sign in"))
        hand.presses = 0
        return hand, link, button, label

    def sees(self, text, page=None):
        expect((page or self.page).get_by_text(text).first).to_be_visible()

    def find(self, hand, name):
        """As platform staff: search on the home page, and open what is found."""
        hand.fill(self.page.get_by_label("Find an organization"), name)
        hand.press(self.page.get_by_role("button", name="Search"))
        hand.press(self.page.get_by_role("link", name=name, exact=True).first)

    def test_sign_in(self):
        hand, link, button, label = self.come(self.page)
        hand.fill(label("Username:"), "anna")
        hand.fill(label("Password:"), "secret")
        hand.press(button(name="Sign in"))
        expect(link(name="Acme", exact=True)).to_be_visible()
        expect(self.page.get_by_text("Foreign")).to_have_count(0)

    def test_find(self):
        hand, link, button, label = self.enter("root")
        self.find(hand, "Foreign")
        expect(label("Name:").first).to_have_value("Foreign")

    def test_edit(self):
        hand, link, button, label = self.enter("anna")
        hand.press(link(name="Acme", exact=True).first)
        hand.fill(label("Phone:"), "+49 30 1234")
        hand.press(button(name="Save", exact=True))
        self.sees("was changed successfully")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "+49 30 1234")

    def test_add_a_person(self):
        hand, link, button, label = self.enter("root")
        self.find(hand, "Foreign")
        hand.press(link(name="People", exact=True))
        hand.pick(self.page.locator(".select2-search__field"), "anna")
        hand.choose(self.page.locator("#id_add-role").get_by_label("Admin"))
        hand.press(button(name="Add people", exact=True))
        self.sees("“anna” is now Admin of “Foreign”.")

    def test_invite(self):
        hand, link, button, label = self.enter("anna")
        hand.press(link(name="People of Acme"))
        hand.fill(label("Email:"), "nora@example.com")
        hand.choose(self.page.locator("#id_invite-role").get_by_label("Admin"))
        hand.press(button(name="Invite person", exact=True))
        self.sees("An invitation was sent to “nora@example.com”.")

        address = urlsplit(re.search(r"https?://\S+", mail.outbox[0].body)[0]).path
        page = self.open_page()
        hand, link, button, label = self.come(page, address)
        hand.fill(label("First name:"), "Nora")
        hand.fill(label("New password:"), "correct horse battery")
        hand.fill(label("New password confirmation:"), "correct horse battery")
        hand.press(button(name="Accept invitation"))
        expect(label("Name:").first).to_have_value("Acme")

    def test_remove_a_person(self):
        hand, link, button, label = self.enter("anna")
        hand.press(link(name="People of Acme"))
        hand.press(button(name="Remove bert"))
        hand.fill(label("Reason (optional):"), "Moved on")
        hand.press(button(name="Remove bert"))
        self.sees("“bert” was removed from “Acme”.")
        expect(button(name="Remove bert")).to_have_count(0)

    def test_see_why_somebody_has_access(self):
        hand, link, button, label = self.enter("root")
        self.find(hand, "Beta")
        hand.press(link(name="Who can see this?"))
        expect(
            self.page.get_by_role("row", name="anna").get_by_text(
                "is in its Reviewer group: view it"
            )
        ).to_be_visible()

    def test_import(self):
        hand, link, button, label = self.enter("root")
        hand.press(link(name="Organizations", exact=True).last)
        hand.press(link(name="Import"))
        hand.give(
            label("CSV file:"), f"id,name,phone\n{self.acme.pk},Acme,2\n,Imported,3\n"
        )
        hand.press(button(name="Preview import"))
        self.sees("“1” → “2”")
        hand.press(button(name="Import organizations", exact=True))
        self.sees("1 organization was created. 1 organization was changed.")

    def test_export(self):
        hand, link, button, label = self.enter("anna")
        hand.press(link(name="All your organizations as a list"))
        text = hand.download(link(name="Export"))
        self.assertIn("Acme", text)
        self.assertNotIn("Foreign", text)

    def test_put_back_an_earlier_state(self):
        self.acme.phone = "2"
        self.acme.save()
        hand, link, button, label = self.enter("root")
        self.find(hand, "Acme")
        hand.press(link(name="History", exact=True))
        hand.press(link(name="Restore this version").last)
        hand.press(button(name="Restore this version"))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")


class MouseTests(Jobs, BrowserTestCase): ...


class TouchTests(Jobs, BrowserTestCase):
    hand = Finger
    viewport = PHONE
    context = {"has_touch": True, "is_mobile": True}


class KeyboardTests(Jobs, BrowserTestCase):
    hand = Keys
    most = 1


class JobTests(BrowserTestCase):
    """What people do, as they do it."""

    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme", phone="1", tax_id="T-1")
        self.beta = create_organization("Beta", tax_id="T-2")
        create_organization("Foreign")
        self.anna = create_user(
            "anna", first_name="Anna", admin_of=[self.acme], reviewer_of=[self.beta]
        )
        create_superuser("root")

    def test_an_org_admin_finds_edits_and_reads_the_history(self):
        page = self.page
        self.sign_in("anna")
        page.get_by_role("link", name="Organizations", exact=True).last.click()
        expect(page.locator("#result_list tbody tr")).to_have_count(2)
        expect(page.get_by_text("Foreign")).to_have_count(0)
        page.get_by_role("link", name="Acme").click()
        page.get_by_label("Phone:").fill("+49 30 1234")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        page.get_by_role("link", name="Acme").last.click()
        page.get_by_role("link", name="History").click()
        expect(page.get_by_text("Phone: from “1” to “+49 30 1234”.")).to_be_visible()
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "+49 30 1234")

    def test_a_reviewer_reads_and_finds_no_way_to_change(self):
        page = self.page
        self.sign_in("anna")
        page.goto(f"/admin/orgadmin/organization/{self.beta.pk}/change/")
        expect(page.get_by_role("heading", name="View organization")).to_be_visible()
        expect(page.get_by_role("button", name="Save")).to_have_count(0)
        expect(page.get_by_text("T-2")).to_have_count(0)

    def test_platform_staff_creates_an_organization_and_assigns_a_person_who_sees_it_at_the_next_click(
        self,
    ):
        person = self.open_page()
        self.sign_in("anna", page=person)
        page = self.page
        self.sign_in("root")
        page.goto("/admin/orgadmin/organization/add/")
        page.get_by_label("Name:").fill("Brand New")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_role("link", name="Add people").click()
        page.locator(".select2-selection").click()
        page.keyboard.type("ann")
        page.get_by_role("option", name="anna").click()
        page.locator("#id_add-role").get_by_label("Admin").check()
        page.get_by_role("button", name="Add people", exact=True).click()
        expect(page.get_by_text("“anna” is now Admin of “Brand New”.")).to_be_visible()
        person.goto("/admin/orgadmin/organization/")
        person.get_by_role("link", name="Brand New").click()
        expect(person.get_by_label("Name:")).to_have_value("Brand New")

        page.get_by_role("button", name="Make anna Reviewer").click()
        page.get_by_role("button", name="Change role").click()
        expect(
            page.get_by_text("“anna” is now Reviewer of “Brand New”.")
        ).to_be_visible()
        page.get_by_role("button", name="Remove anna").click()
        page.get_by_label("Reason (optional):").fill("Moved on")
        page.get_by_role("button", name="Remove anna").click()
        expect(page.get_by_text("“anna” was removed from “Brand New”.")).to_be_visible()
        person.reload()
        expect(person.get_by_text("or you no longer have access to it")).to_be_visible()

    def test_an_org_admin_invites_somebody_new_who_sets_a_password_and_sees_the_organization(
        self,
    ):
        page = self.page
        self.sign_in("anna")
        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/change/")
        page.get_by_role("link", name="People").click()
        page.get_by_label("Email:").fill("nora@example.com")
        page.locator("#id_invite-role").get_by_label("Admin").check()
        page.get_by_role("button", name="Invite person", exact=True).click()
        expect(
            page.get_by_text("An invitation was sent to “nora@example.com”.")
        ).to_be_visible()
        expect(
            page.get_by_role("button", name="Revoke the invitation of nora@example.com")
        ).to_be_visible()
        self.assertLessEqual(
            page.evaluate("document.documentElement.scrollWidth"),
            self.viewport["width"],
        )

        new = self.open_page()
        new.goto(urlsplit(re.search(r"https?://\S+", mail.outbox[0].body)[0]).path)
        new.get_by_label("First name:").fill("Nora")
        new.get_by_label("New password:").fill("correct horse battery")
        new.get_by_label("New password confirmation:").fill("correct horse battery")
        new.get_by_role("button", name="Accept invitation").click()
        expect(new.get_by_label("Name:").first).to_have_value("Acme")
        new.goto("/admin/orgadmin/organization/")
        expect(new.locator("#result_list tbody tr")).to_have_count(1)

        page.reload()
        page.get_by_role("button", name="Make nora@example.com Reviewer").click()
        page.get_by_role("button", name="Change role").click()
        expect(
            page.get_by_text("“nora@example.com” is now Reviewer of “Acme”.")
        ).to_be_visible()
        page.get_by_role("link", name="Membership log").click()
        expect(page.get_by_role("cell", name="Accepted an invitation.")).to_be_visible()
        new.reload()
        new.get_by_role("link", name="Acme").click()
        expect(new.get_by_role("heading", name="View organization")).to_be_visible()

    def test_somebody_forgot_the_password(self):
        User.objects.filter(pk=self.anna.pk).update(email="anna@example.com")
        page = self.page
        page.goto("/admin/")
        page.get_by_role("link", name="Forgot your password?").click()
        page.get_by_label("Email address:").fill("anna@example.com")
        page.get_by_role("button", name="Reset my password").click()
        page.goto(urlsplit(re.search(r"https?://\S+", mail.outbox[0].body)[0]).path)
        page.get_by_label("New password:").fill("correct horse battery")
        page.get_by_label("Confirm password:").fill("correct horse battery")
        page.get_by_role("button", name="Change my password").click()
        self.sign_in("anna", "correct horse battery")

    def test_platform_staff_imports_sees_why_and_puts_back(self):
        page = self.page
        self.sign_in("root")
        page.goto("/admin/orgadmin/organization/")
        page.get_by_role("link", name="Import").click()
        text = f"id,name,phone\n{self.acme.pk},Acme,2\n,Imported,3\n"
        file = {"name": "file.csv", "mimeType": "text/csv", "buffer": text.encode()}
        page.get_by_label("CSV file:").set_input_files(file)
        page.get_by_role("button", name="Preview import").click()
        expect(page.get_by_text("phone: “1” → “2”")).to_be_visible()
        page.get_by_role("button", name="Import organizations", exact=True).click()
        expect(
            page.get_by_text("1 organization was created. 1 organization was changed.")
        ).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="Export").click()
        self.assertIn("Imported", download.value.path().read_text())

        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/history/")
        page.get_by_role("link", name="Restore this version").last.click()
        page.get_by_role("button", name="Restore this version").click()
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")
        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/access/")
        page.get_by_role("link", name="anna").click()
        expect(
            page.get_by_role("cell", name="is in its Reviewer group: view it")
        ).to_be_visible()
        page.goto(f"/admin/orgadmin/user/{self.anna.pk}/change/")
        page.get_by_role("link", name="Offboard").click()
        expect(
            page.get_by_text("This organization will have no active admin:")
        ).to_be_visible()
        page.get_by_role("button", name="Offboard anna").click()
        expect(page.get_by_text("was offboarded")).to_be_visible()

    def test_a_namesake_is_confirmed_by_saving_again(self):
        page = self.page
        self.sign_in("root")
        page.goto("/admin/orgadmin/organization/add/")
        page.get_by_label("Name:").fill("Acme")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(
            page.get_by_text("There are organizations with this name")
        ).to_be_visible()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("was added successfully")).to_be_visible()
        self.assertEqual(Organization.objects.filter(name="Acme").count(), 2)

    def test_the_user_page_chooses_groups_by_search(self):
        page = self.page
        self.sign_in("root")
        page.goto(f"/admin/orgadmin/user/{self.anna.pk}/change/")
        page.locator(".field-groups .select2-selection").click()
        page.keyboard.type("Foreign Rev")
        page.get_by_role("option", name="Foreign Reviewer").click()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        self.assertTrue(self.anna.groups.filter(name="Foreign Reviewer").exists())


class PhoneJobTests(JobTests):
    viewport = PHONE
