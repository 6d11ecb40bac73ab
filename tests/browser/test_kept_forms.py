"""What people typed is not lost when their session ends, or when they leave a page."""

import re
import time

from axe_playwright_python.base import AXE_SCRIPT
from django.contrib.sessions.models import Session
from django.test import override_settings
from playwright.sync_api import expect

from orgadmin.models import Organization
from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.browser.test_accessibility import AXE
from tests.factories import create_organization, create_superuser, create_user

NARROW = {"width": 320, "height": 640}
MINUTE = 60
NOTES = "First line\n\nthird, with “quotes” & <b>"


class KeptFormCase(BrowserTestCase):
    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        create_user("ada", admin_of=[self.acme])
        create_user("eve", admin_of=[self.acme])
        self.url = f"/admin/orgadmin/organization/{self.acme.pk}/change/"

    def read_session(self):
        return Session.objects.get().get_decoded()

    def list_dialogs(self, page):
        """Return the kinds of the dialogs that the browser opens from now on."""
        kinds = []

        def dismiss(dialog):
            kinds.append(dialog.type)
            dialog.dismiss()

        page.on("dialog", dismiss)
        return kinds


class ReturnTests(KeptFormCase):
    def fill_in(self, page):
        page.goto(self.url)
        page.get_by_label("Name:").fill("Acme & Söhne")
        page.get_by_label("Notes:").fill(NOTES)
        page.get_by_role("button", name="Add another Contact").click()
        page.locator("#id_contacts-0-name").fill("Bo")
        page.get_by_role("button", name="Add another Contact").click()
        page.locator("#id_contacts-1-name").fill("Cleo")

    def save(self, page):
        page.get_by_role("button", name="Save", exact=True).click()

    def check_return(self, page):
        self.fill_in(page)
        Session.objects.all().delete()
        self.save(page)
        expect(page.get_by_text("You were signed out before this was")).to_be_visible()
        self.send_sign_in_form(page, "ada")
        expect(page.get_by_text("Check it, then save.")).to_be_visible()
        self.assertTrue(page.url.endswith(self.url))
        expect(page.get_by_label("Name:")).to_have_value("Acme & Söhne")
        expect(page.get_by_label("Notes:")).to_have_value(NOTES)
        expect(page.locator("#id_contacts-0-name")).to_have_value("Bo")
        expect(page.locator("#id_contacts-1-name")).to_have_value("Cleo")
        self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    def test_the_form_comes_back_and_is_saved_once(self):
        page = self.open_page_of("ada")
        self.check_return(page)
        dialogs = self.list_dialogs(page)
        page.get_by_role("link", name="Home", exact=True).click()
        expect(page.get_by_label("Notes:")).to_have_value(NOTES)
        self.assertEqual(dialogs, ["beforeunload"])
        self.save(page)
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        self.assertEqual(len(dialogs), 1)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme & Söhne")
        names = self.acme.contacts.order_by("name").values_list("name", flat=True)
        self.assertEqual(list(names), ["Bo", "Cleo"])

    def test_the_form_comes_back_on_a_phone_without_scripts(self):
        page = self.open_page_of("ada", viewport=PHONE, java_script_enabled=False)
        page.goto(self.url)
        page.get_by_label("Name:").fill("New name")
        Session.objects.all().delete()
        self.save(page)
        self.send_sign_in_form(page, "ada")
        expect(page.get_by_label("Name:")).to_have_value("New name")

    def test_the_form_comes_back_on_a_phone(self):
        self.check_return(self.open_page_of("ada", viewport=PHONE))

    def test_the_form_comes_back_after_a_sign_in_in_another_tab(self):
        page = self.open_page_of("ada")
        self.fill_in(page)
        Session.objects.all().delete()
        tab = page.context.new_page()
        tab.goto("/admin/")
        self.send_sign_in_form(tab, "ada")
        self.expect_signed_in(tab)
        self.save(page)
        expect(page.get_by_text("Check it, then save.")).to_be_visible()
        expect(page.get_by_label("Notes:")).to_have_value(NOTES)
        self.save(page)
        expect(page.get_by_text("was changed successfully")).to_be_visible()

    def test_another_person_gets_nothing_of_it(self):
        page = self.open_page_of("ada")
        self.fill_in(page)
        Session.objects.all().delete()
        self.save(page)
        self.send_sign_in_form(page, "eve")
        self.expect_signed_in(page)
        page.goto(self.url)
        expect(page.get_by_label("Name:")).to_have_value("Acme")
        expect(page.get_by_text("You were signed out")).to_have_count(0)

    def test_an_invitation_comes_back(self):
        page = self.open_page_of("ada")
        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/people/")
        page.get_by_label("Name or email address").fill("new@example.com")
        # Not the role that is chosen when the page opens.
        page.get_by_role("radio", name="Admin").check()
        Session.objects.all().delete()
        page.get_by_role("button", name="Add person").click()
        self.send_sign_in_form(page, "ada")
        expect(page.get_by_text("Check it, then save.")).to_be_visible()
        expect(page.get_by_label("Name or email address")).to_have_value(
            "new@example.com"
        )
        expect(page.get_by_role("radio", name="Admin")).to_be_checked()
        page.get_by_role("button", name="Add person").click()
        expect(page.get_by_text("An invitation is on its way")).to_be_visible()


class LeavingTests(KeptFormCase):
    """Leaving a form that was changed."""

    def leave(self, page):
        """Try to leave a page. Return whether the browser asked, and stayed."""
        dialogs = []

        def dismiss(dialog):
            dialogs.append(dialog.type)
            dialog.dismiss()

        before = page.url
        page.once("dialog", dismiss)
        page.evaluate("setTimeout(() => { location.href = '/admin/'; })")
        page.wait_for_timeout(700)
        page.remove_listener("dialog", dismiss)
        self.assertEqual(page.url == before, dialogs == ["beforeunload"])
        return bool(dialogs)

    def test_asks_only_if_something_was_changed(self):
        page = self.open_page_of("ada")
        notes = page.get_by_label("Notes:")
        page.goto(self.url)
        notes.click()
        self.assertFalse(self.leave(page))
        page.goto(self.url)
        notes.fill("x")
        self.assertTrue(self.leave(page))
        notes.fill("")
        self.assertFalse(self.leave(page))

    def test_asks_about_rows_that_were_added_and_errors_that_remain(self):
        page = self.open_page_of("ada")
        page.goto(self.url)
        page.get_by_role("button", name="Add another Contact").click()
        page.locator("#id_contacts-0-name").fill("Bo")
        self.assertTrue(self.leave(page))
        page.get_by_label("Name:").fill("")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("This field is required")).to_be_visible()
        page.get_by_label("Notes:").click()
        self.assertTrue(self.leave(page))

    def test_asks_about_a_choice(self):
        create_superuser("root")
        page = self.open_page_of("root")
        page.goto("/admin/orgadmin/contact/add/")
        page.locator(".select2-selection").click()
        page.keyboard.type("Acme")
        page.get_by_role("option", name="Acme").click()
        self.assertTrue(self.leave(page))

    def test_does_not_ask_about_searches_and_passwords(self):
        create_superuser("root")
        page = self.open_page_of("root")
        page.goto("/admin/orgadmin/user/")
        page.get_by_role("checkbox").first.check()
        page.locator("#searchbar").fill("x")
        self.assertFalse(self.leave(page))
        page.goto("/admin/password_change/")
        page.get_by_label("Old password").fill("x")
        self.assertFalse(self.leave(page))

    def test_does_not_ask_on_the_sign_in_page(self):
        self.page.goto("/admin/login/")
        self.page.get_by_label("Username").fill("ada")
        self.assertFalse(self.leave(self.page))

    def test_sending_another_form_of_the_page_asks(self):
        page = self.open_page_of("ada")
        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/people/")
        page.get_by_label("Name or email address").fill("new@example.com")
        dialogs = self.list_dialogs(page)
        self.sign_out(page)
        page.wait_for_timeout(500)
        self.assertEqual(dialogs, ["beforeunload"])
        # The account menu is still open, and lies above the form.
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Add person").click()
        expect(page.get_by_text("An invitation is on its way")).to_be_visible()
        self.assertEqual(len(dialogs), 1)


class NoticeTests(KeptFormCase):
    """The notice two minutes before a session ends."""

    def open_with_clock(self, username="ada", **options):
        page = self.open_page_of(username, **options)
        page.clock.install()
        page.goto(self.url)
        self.notice = page.locator("#session-end")
        expect(self.notice).to_be_hidden()
        return page

    def expect_text(self, notice, text, **options):
        """Expect a text among those that are visible."""
        expect(notice).to_contain_text(text, use_inner_text=True, **options)

    def wait_until_idle(self, page, minutes=58):
        self.change_session(last_seen=-minutes * MINUTE)
        page.clock.fast_forward(minutes * MINUTE * 1000)

    def test_appears_and_extends_the_session_by_keyboard(self):
        page = self.open_with_clock()
        page.clock.fast_forward(50 * MINUTE * 1000)
        expect(self.notice).to_be_hidden()
        page.get_by_label("Notes:").focus()
        self.wait_until_idle(page)
        notice = page.get_by_role("region", name="Your session ends soon")
        self.expect_text(notice, re.compile(r"in (2:00|1:5\d)"))
        status = page.locator("#session-end-status").and_(page.get_by_role("status"))
        expect(status).to_contain_text(
            "Your session ends soon. You will be signed out in 2 min"
        )
        # The notice does not take the focus from what someone types.
        expect(page.get_by_label("Notes:")).to_be_focused()
        button = page.get_by_role("button", name="Stay signed in")
        for _tab in range(60):
            if button.evaluate("button => button === document.activeElement"):
                break
            page.keyboard.press("Tab")
        expect(button).to_be_focused()
        before = self.read_session()["last_seen"]
        page.keyboard.press("Enter")
        expect(self.notice).to_be_hidden()
        expect(status).to_have_text("You stay signed in.")
        self.assertGreater(self.read_session()["last_seen"], before + 57 * MINUTE)
        self.assertFalse(page.evaluate("document.activeElement === document.body"))

    def test_does_not_appear_if_the_session_was_used_meanwhile(self):
        page = self.open_with_clock()
        page.clock.fast_forward(58 * MINUTE * 1000)
        page.wait_for_timeout(300)
        expect(self.notice).to_be_hidden()
        self.assertTrue(page.url.endswith(self.url))

    def test_disappears_when_another_tab_uses_the_session(self):
        page = self.open_with_clock()
        self.wait_until_idle(page)
        expect(self.notice).to_be_visible()
        tab = page.context.new_page()
        tab.goto("/admin/")
        expect(self.notice).to_be_hidden()

    def test_says_so_when_the_session_has_ended(self):
        page = self.open_with_clock()
        page.get_by_label("Notes:").fill(NOTES)
        self.wait_until_idle(page)
        expect(self.notice).to_be_visible()
        Session.objects.all().delete()
        page.clock.fast_forward(121 * 1000)
        self.expect_text(self.notice, "Your session has ended")
        self.expect_text(self.notice, "If you save now, you will be asked to sign in")
        expect(page.get_by_role("button", name="Stay signed in")).to_have_count(0)
        page.get_by_role("button", name="Save", exact=True).click()
        self.send_sign_in_form(page, "ada")
        expect(page.get_by_label("Notes:")).to_have_value(NOTES)

    def test_says_when_a_session_ends_that_cannot_be_extended(self):
        page = self.open_with_clock()
        page.get_by_label("Notes:").fill(NOTES)
        self.change_session(signed_in=-(12 * 60 - 2) * MINUTE)
        page.clock.fast_forward(60 * MINUTE * 1000)
        self.expect_text(self.notice, "This session cannot be extended")
        self.expect_text(self.notice, re.compile(r"at \d+:\d\d"))
        expect(page.get_by_role("button", name="Stay signed in")).to_have_count(0)
        page.get_by_role("button", name="Save now").click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        self.acme.refresh_from_db()
        self.assertIn("third", self.acme.notes)

    def test_a_session_that_someone_else_has_now_is_not_extended(self):
        page = self.open_with_clock()
        self.wait_until_idle(page)
        expect(self.notice).to_be_visible()
        Session.objects.all().delete()
        tab = page.context.new_page()
        tab.goto("/admin/")
        self.send_sign_in_form(tab, "eve")
        self.expect_signed_in(tab)
        before = self.read_session()["last_seen"]
        page.clock.fast_forward(121 * 1000)
        self.expect_text(self.notice, "Your session has ended")
        self.assertEqual(self.read_session()["last_seen"], before)

    @override_settings(SESSION_IDLE_MINUTES=1)
    def test_fits_on_a_narrow_screen_in_the_dark(self):
        page = self.open_page_of("ada", viewport=NARROW, color_scheme="dark")
        page.goto(self.url)
        notice = page.locator("#session-end")
        expect(notice).to_be_visible()
        self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))
        page.evaluate(AXE_SCRIPT)
        findings = page.evaluate("options => axe.run(document, options)", AXE)
        self.assertEqual(findings["violations"], [])
        # The last link of the page can be scrolled above the notice.
        link = page.get_by_role("link").last
        link.focus()
        bottom = link.bounding_box()["y"] + link.bounding_box()["height"]
        self.assertLessEqual(bottom, notice.bounding_box()["y"])

    @override_settings(SESSION_IDLE_MINUTES=0.15)
    def test_the_time_really_passes(self):
        page = self.open_page_of("ada")
        page.goto(self.url)
        started = time.time()
        notice = page.locator("#session-end")
        self.expect_text(notice, "0:0")
        self.expect_text(notice, "Your session has ended", timeout=15_000)
        self.assertGreater(time.time() - started, 4)
        page.get_by_label("Notes:").fill("Late")
        page.get_by_role("button", name="Save", exact=True).click()
        self.send_sign_in_form(page, "ada")
        expect(page.get_by_label("Notes:")).to_have_value("Late")
        self.assertEqual(Organization.objects.get().notes, "")
