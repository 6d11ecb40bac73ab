"""Jobs that people do, in a real browser: with the mouse, a finger and the keyboard."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core import mail
from playwright.sync_api import expect

from orgadmin.models import Organization, User
from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import Finger, Hand, Keys
from tests.factories import create_organization, create_superuser, create_user


@dataclass(frozen=True)
class MostPresses:
    """How much a job may take, except typed text."""

    pointer: int  # clicks or taps
    keys: int  # of a keyboard, without a pointer


MOST_PRESSES = {
    "sign_in": MostPresses(pointer=2, keys=4),
    "find": MostPresses(pointer=3, keys=17),
    "edit": MostPresses(pointer=3, keys=30),
    "add_a_person": MostPresses(pointer=8, keys=44),
    "invite": MostPresses(pointer=8, keys=39),
    "remove_a_person": MostPresses(pointer=4, keys=38),
    "see_why_somebody_has_access": MostPresses(pointer=4, keys=28),
    "import": MostPresses(pointer=5, keys=52),
    "export": MostPresses(pointer=2, keys=24),
    "restore_a_version": MostPresses(pointer=6, keys=53),
}


def find_address(message):
    """Return the path of the link in an email."""
    return urlsplit(re.search(r"https?://\S+", message.body)[0]).path


class Jobs:
    """The ten jobs, counted from the home page on.

    Subclasses say how people do them.
    """

    hand_class = Hand

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
        most = MOST_PRESSES[self._testMethodName.removeprefix("test_")]
        limit = most.keys if self.hand_class is Keys else most.pointer
        self.assertLessEqual(sum(hand.presses for hand in self.hands), limit)
        super().tearDown()

    def come(self, page, address="/admin/"):
        """Open an address, and return the hand that is used there."""
        hand = self.hand_class(page)
        self.hands.append(hand)
        hand.open(address)
        return hand

    def enter(self, username):
        """Sign in, which is not counted, and return the hand."""
        hand = self.come(self.page)
        hand.fill(hand.label("Username:"), username)
        hand.fill(hand.label("Password:"), "secret")
        hand.press(hand.button(name="Sign in"))
        hand.presses = 0
        return hand

    def assert_sees(self, text):
        expect(self.page.get_by_text(text).first).to_be_visible()

    def find(self, hand, name):
        """As platform staff, search on the home page, and open what is found."""
        hand.fill(hand.label("Find an organization"), name)
        hand.press(hand.button(name="Search"))
        hand.press(hand.link(name=name, exact=True).first)

    def test_sign_in(self):
        hand = self.come(self.page)
        hand.fill(hand.label("Username:"), "anna")
        hand.fill(hand.label("Password:"), "secret")
        hand.press(hand.button(name="Sign in"))
        expect(hand.link(name="Acme", exact=True)).to_be_visible()
        expect(self.page.get_by_text("Foreign")).to_have_count(0)

    def test_find(self):
        hand = self.enter("root")
        self.find(hand, "Foreign")
        expect(hand.label("Name:").first).to_have_value("Foreign")

    def test_edit(self):
        hand = self.enter("anna")
        hand.press(hand.link(name="Acme", exact=True).first)
        hand.fill(hand.label("Phone:"), "+49 30 1234")
        hand.press(hand.button(name="Save", exact=True))
        self.assert_sees("was changed successfully")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "+49 30 1234")

    def test_add_a_person(self):
        hand = self.enter("root")
        self.find(hand, "Foreign")
        hand.press(hand.link(name="People", exact=True))
        hand.pick(self.page.locator(".select2-search__field"), "anna")
        hand.choose(self.page.locator("#id_add-role").get_by_label("Admin"))
        hand.press(hand.button(name="Add people", exact=True))
        self.assert_sees("“anna” is now Admin of “Foreign”.")

    def test_invite(self):
        hand = self.enter("anna")
        hand.press(hand.link(name="People of Acme"))
        hand.fill(hand.label("Email:"), "nora@example.com")
        hand.choose(self.page.locator("#id_invite-role").get_by_label("Admin"))
        hand.press(hand.button(name="Invite person", exact=True))
        self.assert_sees("An invitation was sent to “nora@example.com”.")

        address = find_address(mail.outbox[0])
        page = self.open_page()
        hand = self.come(page, address)
        hand.fill(hand.label("First name:"), "Nora")
        hand.fill(hand.label("New password:"), "correct horse battery")
        hand.fill(hand.label("New password confirmation:"), "correct horse battery")
        hand.press(hand.button(name="Accept invitation"))
        expect(hand.label("Name:").first).to_have_value("Acme")

    def test_remove_a_person(self):
        hand = self.enter("anna")
        hand.press(hand.link(name="People of Acme"))
        hand.press(hand.button(name="Remove bert"))
        hand.fill(hand.label("Reason (optional):"), "Moved on")
        hand.press(hand.button(name="Remove bert"))
        self.assert_sees("“bert” was removed from “Acme”.")
        expect(hand.button(name="Remove bert")).to_have_count(0)

    def test_see_why_somebody_has_access(self):
        hand = self.enter("root")
        self.find(hand, "Beta")
        hand.press(hand.link(name="Who can see this?"))
        expect(
            self.page.get_by_role("row", name="anna").get_by_text(
                "is in its Reviewer group: view it"
            )
        ).to_be_visible()

    def test_import(self):
        hand = self.enter("root")
        hand.press(hand.link(name="Organizations", exact=True).last)
        hand.press(hand.link(name="Import"))
        hand.give(
            hand.label("CSV file:"),
            f"id,name,phone\n{self.acme.pk},Acme,2\n,Imported,3\n",
        )
        hand.press(hand.button(name="Preview import"))
        self.assert_sees("“1” → “2”")
        hand.press(hand.button(name="Import organizations", exact=True))
        self.assert_sees("1 organization was created. 1 organization was changed.")

    def test_export(self):
        hand = self.enter("anna")
        hand.press(hand.link(name="All your organizations as a list"))
        text = hand.download(hand.link(name="Export"))
        self.assertIn("Acme", text)
        self.assertNotIn("Foreign", text)

    def test_restore_a_version(self):
        self.acme.phone = "2"
        self.acme.save()
        hand = self.enter("root")
        self.find(hand, "Acme")
        hand.press(hand.link(name="History", exact=True))
        hand.press(hand.link(name="Restore this version").last)
        hand.press(hand.button(name="Restore this version"))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")


class MouseTests(Jobs, BrowserTestCase):
    pass


class TouchTests(Jobs, BrowserTestCase):
    hand_class = Finger
    viewport = PHONE
    context = {"has_touch": True, "is_mobile": True}


class KeyboardTests(Jobs, BrowserTestCase):
    hand_class = Keys


class JobTests(BrowserTestCase):
    """Longer jobs, with several people or pages."""

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

    def test_person_sees_an_organization_at_the_next_click_after_staff_adds_them(self):
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

    def test_invited_person_sets_a_password_and_sees_the_organization(self):
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
        width = page.evaluate("document.documentElement.scrollWidth")
        self.assertLessEqual(width, self.viewport["width"])

        new = self.open_page()
        self.accept_invitation(new)
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

    def accept_invitation(self, page):
        page.goto(find_address(mail.outbox[0]))
        page.get_by_label("First name:").fill("Nora")
        page.get_by_label("New password:").fill("correct horse battery")
        page.get_by_label("New password confirmation:").fill("correct horse battery")
        page.get_by_role("button", name="Accept invitation").click()

    def test_person_resets_a_forgotten_password(self):
        User.objects.filter(pk=self.anna.pk).update(email="anna@example.com")
        page = self.page
        page.goto("/admin/")
        page.get_by_role("link", name="Forgot your password?").click()
        page.get_by_label("Email address:").fill("anna@example.com")
        page.get_by_role("button", name="Reset my password").click()
        page.goto(find_address(mail.outbox[0]))
        page.get_by_label("New password:").fill("correct horse battery")
        page.get_by_label("Confirm password:").fill("correct horse battery")
        page.get_by_role("button", name="Change my password").click()
        self.sign_in("anna", "correct horse battery")

    def test_platform_staff_imports_restores_and_offboards(self):
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
