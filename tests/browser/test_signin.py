from allauth.mfa.models import Authenticator
from django.conf import settings
from django.test import override_settings
from playwright.sync_api import expect

from tests.browser import BrowserTestCase
from tests.factories import create_organization, create_superuser, create_user
from tests.identity import company_settings, identity_server
from tests.test_accounts import read_link
from tests.test_sign_in import make_code


class SignInTests(BrowserTestCase):
    @override_settings(SECOND_FACTOR="staff")
    def test_platform_staff_set_up_a_second_factor_and_sign_in_with_it(self):
        create_superuser("root", email="root@example.com")
        page = self.page
        self.enter_password()
        page.get_by_role("button", name="Send link").click()
        expect(page.get_by_text("The link was sent")).to_be_visible()
        page.goto(read_link())
        qr_code = page.get_by_role("img", name="QR code for the app")
        self.assertGreater(qr_code.evaluate("element => element.naturalWidth"), 0)
        secret = page.locator("code").text_content()
        page.get_by_label("Authenticator code").fill(make_code(secret))
        page.get_by_role("button", name="Set up app").click()
        recovery_code = page.locator("li code").first.text_content()
        page.get_by_role("link", name="Go to the home page").click()
        page.get_by_role("button", name="Sign out").click()

        self.enter_password()
        page.get_by_label("Code").fill(recovery_code)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Second factor").click()
        expect(page.get_by_text("9 codes left")).to_be_visible()
        self.assertEqual(Authenticator.objects.count(), 2)

    def enter_password(self):
        self.page.goto("/admin/")
        self.page.get_by_label("Username").fill("root")
        self.page.get_by_label("Password").fill("secret")
        self.page.get_by_role("button", name="Sign in").click()

    def test_the_companys_server_signs_in(self):
        ada = create_user(
            "ada",
            first_name="Ada",
            email="ada@example.com",
            admin_of=[create_organization("Acme")],
        )
        ada.verify_email()
        server = self.enterContext(identity_server())
        server.person = {"sub": "1", "email": "ada@example.com", "email_verified": True}
        self.other_servers = (server.address,)
        policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"] | {
            "form-action": ["'self'", server.address]
        }
        with override_settings(
            **company_settings(server),
            BASE_URL=self.live_server_url,
            CONTENT_SECURITY_POLICY={"DIRECTIVES": policy},
        ):
            self.page.goto("/admin/orgadmin/organization/")
            self.page.get_by_role("button", name="Sign in with Example").click()
            acme = self.page.get_by_role("link", name="Acme", exact=True)
            expect(acme).to_be_visible()
