from playwright.sync_api import expect

from orgadmin.people import invitations
from tests.browser import PHONE, BrowserTestCase
from tests.factories import ADMIN, create_organization, create_user
from tests.mailing import send_invitation
from tests.test_accounts import read_link


class InvitationTests(BrowserTestCase):
    """Accepting an invitation and confirming an address on a phone."""

    viewport = PHONE

    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        self.nora = create_user("nora", email="nora@example.com")

    def invite(self, email):
        """Invite someone, and return the path of the link."""
        send_invitation(invitations.invite(self.acme, email, ADMIN, actor=self.ada))
        return read_link()

    def test_someone_else_signs_out_and_the_invited_person_signs_in(self):
        page = self.open_page_of("ada")
        page.goto(self.invite("nora@example.com"))
        expect(page.get_by_text("You are signed in as ada")).to_be_visible()
        page.get_by_role("button", name="Sign out and continue").click()
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Username").fill("nora")
        page.get_by_label("Password").fill("secret")
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_text("You are signed in as nora")).to_be_visible()
        page.get_by_role("button", name="Accept invitation").click()
        expect(page.get_by_text("You now have access to “Acme”.")).to_be_visible()
        expect(page.get_by_text("Confirm email address")).to_have_count(0)

    def test_a_person_confirms_their_address(self):
        page = self.open_page_of("ada")
        page.goto("/admin/")
        page.get_by_role("link", name="Confirm email address").click()
        page.get_by_role("button", name="Send link").click()
        expect(page.get_by_text("A link is on its way to")).to_be_visible()
        page.goto(read_link())
        page.get_by_role("button", name="Confirm email address").click()
        expect(page.get_by_text("Your email address is confirmed.")).to_be_visible()
