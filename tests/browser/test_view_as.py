"""Viewing the site as someone else in a browser."""

import re

from playwright.sync_api import expect

from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.factories import create_organization, create_superuser, create_user

BANNER = "section.viewing"
REASON = "Mary does not find Acme (ticket 4711)"


class ViewAsTests(BrowserTestCase):
    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        create_organization("Beta")
        self.mary = create_user(
            "mary", first_name="Mary", last_name="Jones", admin_of=[self.acme]
        )
        create_superuser("root")
        self.start_session(self.page, "root")

    def begin(self):
        """Three presses: the button, the field, and the button of the question."""
        self.page.goto(f"/admin/orgadmin/user/{self.mary.pk}/overview/")
        if self.viewport == PHONE:
            # There, it is in the menu.
            self.page.locator("summary", has_text="More").click()
        self.page.get_by_role("link", name="View site as Mary Jones").click()
        self.page.get_by_label("Reason:").fill(REASON)
        self.page.get_by_role("button", name="View site as Mary Jones").click()
        expect(self.page.locator(BANNER)).to_contain_text("Mary Jones")

    def test_looks_around_changes_nothing_and_stops(self):
        self.begin()
        expect(self.page.get_by_role("link", name="Acme").first).to_be_visible()
        expect(self.page.get_by_text("Beta")).to_have_count(0)
        self.page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/change/")
        self.page.locator("#id_phone").fill("123")
        self.page.get_by_role("button", name="Save", exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(
            "Nothing was changed"
        )
        expect(self.page.locator(BANNER)).to_be_visible()
        self.page.get_by_role("button", name="Stop viewing").click()
        expect(self.page.locator(BANNER)).to_have_count(0)
        expect(self.page).to_have_url(re.compile(f"user/{self.mary.pk}/overview/$"))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "")

    def test_the_banner_stays_in_sight_and_covers_nothing(self):
        self.begin()
        for address in ("", "orgadmin/organization/", f"{self.mary.pk}/nothing"):
            self.page.goto(f"/admin/{address}")
            self.assertFalse(self.page.evaluate(WIDER_THAN_WINDOW))
            self.page.evaluate("scrollTo(0, document.body.scrollHeight)")
            expect(self.page.locator(BANNER)).to_be_in_viewport()
        self.page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/change/")
        self.page.get_by_role("link", name="Skip to main content").focus()
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", level=1)).to_be_in_viewport()


class PhoneViewAsTests(ViewAsTests):
    viewport = PHONE
