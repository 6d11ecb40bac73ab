"""People look after their own account, with a mouse, a finger, or the keyboard."""

import re

from django.core import mail
from playwright.sync_api import expect

from orgadmin.models import User
from tests.browser import ACCOUNT_BUTTON, PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW, Finger, Hand, Keys
from tests.factories import create_organization, create_user

# How many presses everything below takes, not counting typed text: clicks or taps, and
# keys if there is nothing but a keyboard.
PRESSES = {Hand: 9, Finger: 9, Keys: 105}

LINK = re.compile(r"/admin/new-email/\S+")

PHONE_BROWSER = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Safari/604.1"
)


class Account:
    """What people do on the page. A subclass says which hand does it."""

    hand_class = Hand

    def setUp(self):
        super().setUp()
        acme = create_organization("Acme")
        self.anna = create_user("anna", email="anna@example.com", admin_of=[acme])

    def sees(self, text, page=None):
        expect((page or self.page).get_by_text(text).first).to_be_visible()

    def test_they_change_their_name_address_and_language_and_end_a_session(self):
        other = self.open_page(user_agent=PHONE_BROWSER)
        self.sign_in("anna", page=other)
        self.sign_in("anna")
        mail.outbox.clear()
        hand = self.hand_class(self.page)
        hand.touch(self.page.locator(ACCOUNT_BUTTON))
        hand.press(hand.link("Your account"))

        hand.fill(hand.field("First name:"), "Anna Maria")
        hand.press(hand.button("Save name"))
        self.sees("Your name was saved.")

        hand.fill(hand.field("New email address:"), "anna@new.example.com")
        hand.press(hand.button("Change email address"))
        self.sees("A link is on its way to “anna@new.example.com”.")
        button = self.page.get_by_role("button", name="Sign out Safari on iPhone")
        hand.press(button)
        self.sees("Sign out Safari on iPhone?")
        hand.press(button)
        self.sees("You were signed out there.")
        other.reload()
        expect(other.get_by_role("button", name="Sign in")).to_be_visible()

        hand.open(LINK.search(mail.outbox[0].body)[0])
        hand.press(hand.button("Change email address"))
        self.sees("Your email address is now “anna@new.example.com”.")
        self.assertFalse(self.page.evaluate(WIDER_THAN_WINDOW))
        anna = User.objects.get(pk=self.anna.pk)
        self.assertEqual(anna.first_name, "Anna Maria")
        self.assertTrue(anna.has_verified_email)
        self.assertLessEqual(hand.presses, PRESSES[self.hand_class])

    def test_a_refused_form_is_shown_where_it_was(self):
        self.sign_in("anna")
        hand = self.hand_class(self.page)
        hand.touch(self.page.locator(ACCOUNT_BUTTON))
        hand.press(hand.link("Your account"))
        hand.fill(hand.field("New email address:"), "nobody")
        hand.press(hand.button("Change email address"))
        field = hand.field("New email address:")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_be_in_viewport()
        expect(field).to_have_value("nobody")

    def test_language_and_time_zone_apply_at_once_on_all_devices(self):
        other = self.open_page()
        self.sign_in("anna", page=other)
        self.sign_in("anna")
        page = self.page
        self.open_account(page)
        page.get_by_label("Language:").select_option("de")
        page.get_by_label("Time zone:").select_option("Asia/Tokyo")
        page.get_by_role("button", name="Save language and time zone").click()
        expect(page.locator("html")).to_have_attribute("lang", "de")
        expect(page.locator("select").last).to_have_value("Asia/Tokyo")
        other.reload()
        expect(other.locator("html")).to_have_attribute("lang", "de")
        other.context.clear_cookies(name="sessionid")
        other.goto("/admin/login/")
        expect(other.locator("html")).to_have_attribute("lang", "de")


class MouseTests(Account, BrowserTestCase): ...


class TouchTests(Account, BrowserTestCase):
    hand_class = Finger
    viewport = PHONE
    context = {"has_touch": True, "is_mobile": True}


class KeyboardTests(Account, BrowserTestCase):
    hand_class = Keys


class NarrowTests(Account, BrowserTestCase):
    viewport = {"width": 320, "height": 700}
