"""Access that ends, as admins of an organization meet it."""

from datetime import timedelta

from django.utils.formats import date_format
from playwright.sync_api import expect

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.people.ends import PlannedEnd, find_today
from tests.browser import DESKTOP, PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.factories import create_organization, create_superuser, create_user
from tests.test_member_ends import set_last_day

DEVICES = {"desktop": DESKTOP, "phone": PHONE}


class EndTests(BrowserTestCase):
    def setUp(self):
        super().setUp()
        create_superuser()
        self.acme = create_organization("Acme")
        create_user("ada", admin_of=[self.acme])
        self.mary = create_user("mary", reviewer_of=[self.acme])
        self.soon = find_today() + timedelta(days=3)
        self.people = f"/admin/orgadmin/organization/{self.acme.pk}/people/"

    def test_an_admin_extends_access_in_one_press(self):
        for device, viewport in DEVICES.items():
            with self.subTest(device=device):
                set_last_day(self.mary, self.acme, self.soon)
                page = self.open_page_of("ada", viewport=viewport)
                page.goto(self.people)
                expect(page.get_by_text("Ends in 3 days")).to_be_visible()
                self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))
                extended = date_format(
                    PlannedEnd(find_start_of_next_day(self.soon)).extended_day
                )
                button = page.get_by_role(
                    "button", name=f"Extend access of mary until {extended}"
                )
                button.click()
                message = f"“mary” has access to “Acme” until {extended}."
                expect(page.get_by_text(message)).to_be_visible()
                expect(page.get_by_text("Ends in 3 days")).to_have_count(0)

    def test_a_person_is_added_with_an_end(self):
        for device, viewport in DEVICES.items():
            with self.subTest(device=device):
                create_user(f"new-{device}")
                page = self.open_page_of("root", viewport=viewport)
                page.goto(self.people)
                page.get_by_label("Name or email address").first.fill(f"new-{device}")
                page.get_by_label("Access ends on").fill(self.soon.isoformat())
                page.get_by_role("button", name="Add person").click()
                day = date_format(self.soon)
                message = f"“new-{device}” is now Reviewer of “Acme”."
                expect(page.get_by_text(message)).to_be_visible()
                row = page.get_by_role("row").filter(has_text=f"new-{device}")
                expect(row.get_by_text(day, exact=True)).to_be_visible()

    def test_a_day_that_has_passed_is_refused_next_to_the_field(self):
        page = self.open_page_of("root", viewport=PHONE)
        page.goto(f"{self.people}?end={self.mary.pk}")
        yesterday = find_today() - timedelta(days=1)
        page.get_by_label("Access ends on").fill(yesterday.isoformat())
        page.get_by_role("button", name="Save end").click()
        field = page.locator(".field.errors")
        expect(field.get_by_text("This day has passed.")).to_be_visible()
        field.get_by_label("Access ends on").fill(self.soon.isoformat())
        page.get_by_role("button", name="Save end").click()
        message = f"until {date_format(self.soon)}."
        expect(page.get_by_text(message)).to_be_visible()
        page.goto(f"{self.people}?end={self.mary.pk}")
        page.get_by_role("button", name="Remove end").click()
        expect(page.get_by_text("no longer ends.")).to_be_visible()
