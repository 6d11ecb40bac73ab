"""Asking an organization for a role, and answering, in a browser."""

from urllib.parse import urlsplit

from playwright.sync_api import expect

from orgadmin.people.membership import find_role
from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.factories import REVIEWER, create_organization, create_user

REASON = "I keep the accounts of Acme, and have to read its tax number each month."


class AccessRequestTests(BrowserTestCase):
    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        create_user("ada", first_name="Ada", admin_of=[self.acme])
        self.mary = create_user("mary", first_name="Mary", last_name="Jones")
        self.people = f"/admin/orgadmin/organization/{self.acme.pk}/people/"

    def fits(self, page):
        self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))

    def test_an_admin_hands_out_a_link_and_someone_gets_a_role(self):
        """Two presses to make a link, two to ask, and two to answer."""
        admin = self.open_page_of("ada")
        admin.goto(self.people)
        admin.get_by_text("More", exact=True).click()
        admin.get_by_role("link", name="Requests for access").click()
        self.fits(admin)
        admin.get_by_role("button", name="Create link").click()
        address = urlsplit(admin.get_by_label("Link", exact=True).input_value()).path
        self.fits(admin)

        person = self.open_page_of("mary")
        person.goto(address)
        self.fits(person)
        person.get_by_label("Why do you need access?").fill(REASON)
        person.get_by_role("button", name="Ask for access").click()
        expect(
            person.get_by_text("Your request was sent to the admins.")
        ).to_be_visible()
        self.fits(person)

        admin.goto(self.people)
        self.fits(admin)
        admin.get_by_role("link", name="Answer the request of mary").click()
        expect(admin.get_by_text(REASON)).to_be_visible()
        self.fits(admin)
        admin.get_by_role("button", name="Give role").click()
        expect(admin.get_by_text("“mary” now has the role Reviewer")).to_be_visible()
        self.assertEqual(find_role(self.acme, self.mary), REVIEWER)

        person.goto(address)
        expect(person.get_by_text("You have the role Reviewer")).to_be_visible()
        person.goto("/admin/account/")
        expect(person.get_by_text("Approved on")).to_be_visible()
        self.fits(person)


class PhoneAccessRequestTests(AccessRequestTests):
    viewport = PHONE
