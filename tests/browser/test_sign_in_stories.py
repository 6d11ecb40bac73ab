"""What people do to sign in, on large and small screens, in English and German."""

import re

from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client, override_settings
from django.utils import translation
from django.utils.translation import gettext
from playwright.sync_api import expect

from orgadmin.accounts import throttle
from orgadmin.models import User
from orgadmin.people import invitations
from tests.browser import ACCOUNT_BUTTON, PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW, Finger, Hand
from tests.browser.test_passkeys import add_device
from tests.factories import ADMIN, create_organization, create_user
from tests.mailing import read_link

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"

# How many presses each story takes at most. Typing text does not count.
PRESSES = {
    "address in capitals": 2,
    "no organization": 2,
    "form comes back": 5,
    "another person": 4,
    "account": 9,
    "account form comes back": 5,
    "passkey": 4,
    "invitation": 5,
    "reset": 8,
    "lock-out": 5,
}


class Stories:
    """A subclass says on which screen, with which hand, and in which language."""

    hand_class = Hand
    language = "en"

    @property
    def context(self):
        touch = {"has_touch": True, "is_mobile": True}
        options = touch if self.hand_class is Finger else {}
        return {"locale": self.language, **options}

    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        self.hand = self.hand_class(self.page)
        mail.outbox.clear()

    def say(self, text):
        """Return a text in the language of the page."""
        with translation.override(self.language):
            return gettext(text)

    def press(self, text):
        button = self.page.get_by_role("button", name=self.say(text), exact=True)
        self.hand.press(button.first)

    def follow(self, text):
        self.hand.press(self.hand.link(self.say(text)).first)

    def fill(self, **texts):
        """Fill in fields, which are named by their IDs."""
        for name, text in texts.items():
            self.hand.fill(self.page.locator(f"#id_{name}"), text)

    def sees(self, text):
        expect(self.page.get_by_text(self.say(text)).first).to_be_visible()

    def sign_in_here(self, username="ada", password="secret"):
        self.fill(username=username, password=password)
        self.press("Sign in")

    def open_signed_in(self, address):
        """Open a page as Ada, without the sign-in page."""
        self.start_session(self.page, "ada")
        self.hand.open(address)

    def end(self, story):
        expect(self.page.locator("html")).to_have_attribute("lang", self.language)
        self.assertFalse(self.page.evaluate(WIDER_THAN_WINDOW))
        self.assertLessEqual(self.hand.presses, PRESSES[story])

    def test_sign_in_with_an_address_in_capitals(self):
        self.hand.open("/admin/")
        self.sign_in_here("ADA@Example.COM")
        self.assertTrue(self.page.url.endswith("/admin/"))
        self.expect_signed_in(self.page)
        self.end("address in capitals")

    def test_someone_without_an_organization_is_told_so(self):
        create_user("zoe", email="zoe@example.com")
        self.hand.open(LOGIN)
        self.sign_in_here("zoe")
        self.sees("You don't belong to an organization yet")
        self.end("no organization")

    def leave_form(self):
        """Change the organization, and save after the session has ended."""
        self.open_signed_in(f"/admin/orgadmin/organization/{self.acme.pk}/change/")
        self.fill(name="Acme & Söhne")
        Session.objects.all().delete()
        self.press("Save")
        self.sees("You were signed out before this was saved. Sign in to continue.")

    def test_a_form_comes_back_after_the_session_has_ended(self):
        self.leave_form()
        self.sign_in_here()
        self.sees("You were signed out before this was saved. Check it, then save.")
        expect(self.page.locator("#id_name")).to_have_value("Acme & Söhne")
        self.press("Save")
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme & Söhne")
        self.end("form comes back")

    def test_another_person_gets_nothing_of_the_form(self):
        create_user("eve", admin_of=[self.acme])
        self.leave_form()
        self.sign_in_here("eve")
        self.assertTrue(self.page.url.endswith("/admin/"))
        self.hand.open(f"/admin/orgadmin/organization/{self.acme.pk}/change/")
        expect(self.page.locator("#id_name")).to_have_value("Acme")
        self.end("another person")

    def test_people_change_what_is_about_themselves(self):
        other = Client()
        other.force_login(self.ada)
        self.open_signed_in("/admin/")
        self.hand.touch(self.page.locator(ACCOUNT_BUTTON))
        self.follow("Your account")
        self.fill(**{"name-last_name": "Adeyemi"})
        self.press("Save name")
        self.sees("Your name was saved.")
        self.fill(**{"email-email": "ada@new.example.com"})
        self.press("Change email address")
        self.hand.open(read_link())
        self.press("Change email address")
        zone = self.page.locator("#id_language-time_zone")
        zone.select_option("Asia/Tokyo")
        self.press("Save language and time zone")
        self.sees("Your language and time zone were saved.")
        self.press("Sign out on my other devices")
        self.sees("You were signed out on all your other devices.")
        ada = User.objects.get(pk=self.ada.pk)
        self.assertEqual(ada.last_name, "Adeyemi")
        self.assertEqual(ada.verified_email, "ada@new.example.com")
        self.assertEqual(ada.time_zone, "Asia/Tokyo")
        self.assertEqual(other.get("/admin/").status_code, 302)
        self.end("account")

    def test_a_form_of_the_account_page_comes_back(self):
        self.open_signed_in("/admin/account/")
        self.fill(**{"name-last_name": "Adeyemi"})
        Session.objects.all().delete()
        self.press("Save name")
        self.sign_in_here()
        self.sees("You were signed out before this was saved. Check it, then save.")
        field = self.page.locator("#id_name-last_name")
        expect(field).to_have_value("Adeyemi")
        self.press("Save name")
        self.ada.refresh_from_db()
        self.assertEqual(self.ada.last_name, "Adeyemi")
        self.end("account form comes back")

    def test_sign_in_with_a_passkey(self):
        changes = {"SECOND_FACTOR": "optional", "BASE_URL": self.live_server_url}
        self.enterContext(override_settings(**changes))
        add_device(self.page.context.new_cdp_session(self.page))
        self.open_signed_in("/admin/second-factor/passkeys/add/")
        self.press("Add passkey")
        self.hand.open("/admin/")
        self.hand.touch(self.page.locator(ACCOUNT_BUTTON))
        self.press("Sign out")
        self.hand.open(LOGIN)
        self.press("Sign in with a passkey")
        self.expect_signed_in(self.page)
        self.end("passkey")

    def test_accept_an_invitation(self):
        invitation = invitations.invite(
            self.acme, "nora@example.com", ADMIN, actor=self.ada
        )
        self.hand.open(f"/admin/invitation/{invitation.make_token()}/")
        self.fill(first_name="Nora", last_name="Norton")
        self.fill(new_password1=PASSWORD, new_password2=PASSWORD)
        self.press("Accept invitation")
        self.sees("Acme")
        nora = User.objects.get(email="nora@example.com")
        self.assertEqual(list(self.acme.admin.user_set.filter(pk=nora.pk)), [nora])
        self.end("invitation")

    def test_choose_a_new_password(self):
        self.hand.open(LOGIN)
        self.follow("Forgot your password?")
        self.fill(email="Ada@EXAMPLE.com")
        self.press("Reset my password")
        self.hand.open(read_link())
        self.fill(new_password1=PASSWORD, new_password2=PASSWORD)
        self.press("Change my password")
        self.hand.open(LOGIN)
        self.sign_in_here(password=PASSWORD)
        self.expect_signed_in(self.page)
        self.end("reset")

    def test_sign_in_while_someone_else_guesses(self):
        for _guess in range(throttle.LIMIT + 1):
            Client().post(LOGIN, {"username": "ada", "password": "wrong"})
        self.hand.open(LOGIN)
        self.sign_in_here()
        expect(self.page.locator(".errornote")).to_be_visible()
        [message] = mail.outbox
        self.hand.open(re.search(r"/admin/lock-out/\S+", message.body)[0])
        self.press("Try again on this device")
        self.sees("You can try again on this device now.")
        self.sign_in_here()
        self.expect_signed_in(self.page)
        self.end("lock-out")


class GermanTests(Stories, BrowserTestCase):
    language = "de"


class PhoneTests(Stories, BrowserTestCase):
    hand_class = Finger
    viewport = PHONE


class NarrowGermanTests(Stories, BrowserTestCase):
    """The longest words on the smallest screen."""

    hand_class = Finger
    viewport = {"width": 320, "height": 640}
    language = "de"
