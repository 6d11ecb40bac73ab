"""Passkeys in a real browser, whose authenticator is a virtual one."""

from allauth.mfa.models import Authenticator
from axe_playwright_python.base import AXE_SCRIPT
from django.test import override_settings
from playwright.sync_api import expect

from tests.browser import DESKTOP, PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.browser.test_accessibility import AXE
from tests.factories import create_organization, create_user

FACTOR = "/admin/second-factor/"


def add_device(tools, **changes):
    """Give a browser a device that keeps passkeys, and return its ID.

    `tools` is a session of the browser's developer tools.
    """
    tools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
        **changes,
    }
    device = tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return device["authenticatorId"]


class PasskeyTests(BrowserTestCase):
    viewport = DESKTOP

    def setUp(self):
        super().setUp()
        changes = {"SECOND_FACTOR": "optional", "BASE_URL": self.live_server_url}
        self.enterContext(override_settings(**changes))
        self.ada = create_user(
            "ada", email="ada@example.com", admin_of=[create_organization("Acme")]
        )
        self.device = self.add_device()

    def add_device(self, **changes):
        self.tools = self.page.context.new_cdp_session(self.page)
        return add_device(self.tools, **changes)

    def check_page(self):
        """Fail if axe-core finds anything, or the page scrolls sideways."""
        self.page.evaluate(AXE_SCRIPT)
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            result = self.page.evaluate("options => axe.run(options)", AXE)
            self.assertEqual(result["violations"], [])
        self.assertFalse(self.page.evaluate(WIDER_THAN_WINDOW))

    def expect_problem(self, text):
        """Fail unless this problem is shown, and no other one."""
        shown = self.page.locator("[data-problem] >> visible=true")
        expect(shown).to_have_count(1)
        expect(shown).to_contain_text(text)

    def expect_no_problem(self):
        expect(self.page.locator("[data-problem] >> visible=true")).to_have_count(0)

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).press("Enter")

    def follow(self, name):
        self.page.get_by_role("link", name=name, exact=True).press("Enter")

    def enter_password(self):
        self.page.goto("/admin/login/")
        self.page.locator("#id_username").fill("ada")
        self.page.locator("#id_password").fill("secret")
        self.press("Sign in")

    def add_passkey(self):
        self.start_session(self.page, "ada")
        self.page.goto(FACTOR)
        self.follow("Add passkey")
        expect(self.page.get_by_role("heading", name="Add passkey")).to_be_visible()
        self.page.get_by_label("Name").fill("Laptop")
        self.press("Add passkey")
        expect(self.page.get_by_text("The passkey was added.")).to_be_visible()

    def leave(self):
        self.page.goto("/admin/")
        self.sign_out(self.page)
        expect(self.page.get_by_text("You are signed out")).to_be_visible()

    def test_cannot_be_sent_before_the_script_is_there(self):
        def answer_late(route):
            self.page.wait_for_timeout(1000)
            route.continue_()

        self.start_session(self.page, "ada")
        self.page.route("**/passkeys*.js", answer_late)
        self.page.goto(f"{FACTOR}passkeys/add/", wait_until="commit")
        self.page.get_by_label("Name").fill("Laptop")
        self.press("Add passkey")
        expect(self.page.get_by_text("The passkey was added.")).to_be_visible()

    def test_adds_uses_renames_and_removes_one_with_the_keyboard(self):
        page = self.page
        self.add_passkey()
        self.check_page()
        page.goto(f"{FACTOR}passkeys/add/")
        self.check_page()
        self.press("Add passkey")
        self.expect_problem("already has a passkey on this device")
        self.check_page()
        self.leave()

        page.goto("/admin/login/")
        self.expect_no_problem()
        self.check_page()
        self.press("Sign in with a passkey")
        self.expect_signed_in(page)
        self.leave()

        self.enter_password()
        expect(page.get_by_role("button", name="Use your passkey")).to_be_visible()
        self.check_page()
        self.press("Use your passkey")
        self.expect_signed_in(page)

        page.goto(FACTOR)
        expect(page.get_by_text("last used on")).to_be_visible()
        self.check_page()
        self.follow("Rename passkey “Laptop”")
        page.get_by_label("Name").fill("Phone")
        self.check_page()
        self.press("Rename passkey")
        self.follow("Remove passkey “Phone”")
        expect(
            page.get_by_role("heading", name="Remove passkey “Phone”")
        ).to_be_visible()
        self.check_page()
        self.press("Remove passkey")
        expect(page.get_by_text("The passkey was removed.")).to_be_visible()
        self.assertFalse(Authenticator.objects.exists())
        self.leave()

        page.goto("/admin/login/")
        self.press("Sign in with a passkey")
        expect(page.get_by_text("This passkey was not accepted.")).to_be_visible()

    def test_confirms_who_one_is(self):
        self.add_passkey()
        self.change_session(signed_in=-11 * 60)
        passkey = Authenticator.objects.get(type="webauthn")
        self.page.goto(f"{FACTOR}passkeys/{passkey.pk}/rename/")
        self.check_page()
        self.press("Confirm with a passkey")
        self.page.get_by_label("Name").fill("Phone")
        self.press("Rename passkey")
        expect(self.page.get_by_text("The passkey was renamed.")).to_be_visible()

    def test_says_when_the_person_was_not_verified(self):
        self.add_passkey()
        self.leave()
        self.tools.send(
            "WebAuthn.setUserVerified",
            {"authenticatorId": self.device, "isUserVerified": False},
        )
        self.page.goto("/admin/login/")
        self.press("Sign in with a passkey")
        self.expect_problem("canceled or took too long")
        self.check_page()
        self.tools.send(
            "WebAuthn.setUserVerified",
            {"authenticatorId": self.device, "isUserVerified": True},
        )
        self.press("Sign in with a passkey")
        self.expect_signed_in(self.page)

    def test_says_when_the_browser_has_no_passkeys(self):
        self.page.add_init_script("delete window.PublicKeyCredential")
        self.page.goto("/admin/login/")
        self.press("Sign in with a passkey")
        self.expect_problem("This browser does not support passkeys.")

    def test_says_when_there_are_no_scripts(self):
        page = self.open_page(java_script_enabled=False)
        page.goto("/admin/login/")
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_text("Passkeys need JavaScript")).to_be_visible()


class PhonePasskeyTests(PasskeyTests):
    viewport = PHONE
