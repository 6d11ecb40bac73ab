from allauth.mfa.models import Authenticator
from django.test import override_settings
from playwright.sync_api import expect

from orgadmin.models import User
from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.factories import create_organization, create_superuser, create_user
from tests.identity import company_settings, identity_server
from tests.test_accounts import read_link
from tests.test_sign_in import make_code


def use_company_server(test, email):
    """Have a server of the company sign in someone with an address, during a test."""
    server = test.enterContext(identity_server())
    server.person = {"sub": "1", "email": email, "email_verified": True}
    test.other_servers = (server.address,)
    changes = {**company_settings(server), "BASE_URL": test.live_server_url}
    test.enterContext(override_settings(**changes))
    return server


class SignInTests(BrowserTestCase):
    @override_settings(SECOND_FACTOR="staff")
    def test_platform_staff_set_up_a_second_factor_and_sign_in_with_it(self):
        create_superuser("root", email="root@example.com")
        page = self.page
        self.enter_password()
        page.get_by_role("button", name="Send link").click()
        expect(page.get_by_text("The link is on its way")).to_be_visible()
        page.goto(read_link())
        qr_code = page.get_by_role("img", name="QR code for the app")
        self.assertGreater(qr_code.evaluate("element => element.naturalWidth"), 0)
        secret = page.locator("code").text_content()
        page.get_by_label("Authenticator code").fill(make_code(secret))
        page.get_by_role("button", name="Set up app").click()
        recovery_code = page.locator("li code").first.text_content()
        page.get_by_role("link", name="Go to the home page").click()
        self.sign_out(page)

        self.enter_password()
        page.get_by_label("Code").fill(recovery_code)
        page.get_by_role("button", name="Sign in").click()
        self.open_account(page)
        page.get_by_role("link", name="Change second factor").click()
        expect(page.get_by_text("9 codes left")).to_be_visible()
        self.assertEqual(Authenticator.objects.count(), 2)

    def enter_password(self):
        self.page.goto("/admin/")
        self.send_sign_in_form(self.page, "root")

    def test_the_companys_server_signs_in(self):
        ada = create_user(
            "ada",
            first_name="Ada",
            email="ada@example.com",
            admin_of=[create_organization("Acme")],
        )
        ada.verify_email()
        use_company_server(self, "ada@example.com")
        self.page.goto("/admin/orgadmin/organization/")
        self.page.get_by_role("button", name="Sign in with Example").click()
        acme = self.page.get_by_role("link", name="Acme", exact=True)
        expect(acme).to_be_visible()


class StepUpTests(BrowserTestCase):
    """Confirming who you are in the middle of a task."""

    def open_old_page(self, url, username="root", **options):
        """Open a page with a sign-in of eleven minutes ago."""
        page = self.open_page_of(username, **options)
        page.goto(url)
        self.change_session(signed_in=-11 * 60)
        return page

    def test_what_was_entered_is_kept_on_a_phone_without_scripts(self):
        create_superuser("root")
        anna = create_user("anna")
        page = self.open_old_page(
            f"/admin/orgadmin/user/{anna.pk}/change/",
            viewport=PHONE,
            java_script_enabled=False,
        )
        page.get_by_label("First name").fill("Anna “the first”\u00a0<b>")
        page.get_by_label("Superuser status").check()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_role("heading", name="Confirm it’s you")).to_be_visible()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("The password is wrong")).to_be_visible()
        page.get_by_label("Your password").fill("secret")
        page.get_by_role("button", name="Confirm and continue").click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        anna.refresh_from_db()
        self.assertTrue(anna.is_superuser)
        self.assertEqual(anna.first_name, "Anna “the first” <b>")

    def test_the_page_fits_on_a_phone(self):
        create_superuser("root")
        page = self.open_old_page("/admin/", viewport=PHONE)
        page.goto("/admin/orgadmin/organization/import/")
        self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))
        page.get_by_label("Your password").fill("secret")
        page.get_by_role("button", name="Confirm and continue").click()
        expect(page.get_by_label("Spreadsheet or CSV file")).to_be_visible()

    def test_people_without_a_password_continue_after_signing_in_in_another_tab(self):
        root = create_superuser("root", email="root@example.com")
        root.verify_email()
        root.set_unusable_password()
        root.save()
        anna = create_user("anna")
        use_company_server(self, "root@example.com")
        page = self.page
        page.goto("/admin/")
        page.get_by_role("button", name="Sign in with Example").click()
        self.expect_signed_in(page)
        page.goto(f"/admin/orgadmin/user/{anna.pk}/delete/")
        self.change_session(signed_in=-11 * 60)
        page.get_by_role("button", name="Delete anna").click()
        expect(page.get_by_role("heading", name="Confirm it’s you")).to_be_visible()
        with page.context.expect_page() as opened:
            page.get_by_role("button", name="Sign in with Example").click()
        tab = opened.value
        self.expect_signed_in(tab)
        tab.close()
        page.get_by_role("button", name="Continue after signing in").click()
        expect(page.get_by_text("was deleted successfully")).to_be_visible()
        self.assertFalse(User.objects.filter(pk=anna.pk).exists())
