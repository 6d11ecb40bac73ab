"""What the pages of accessibility tests and pictures have in common."""

from datetime import timedelta

from playwright.sync_api import expect

from orgadmin.models import ReviewScope
from orgadmin.people.review_items import prepare
from orgadmin.people.reviews import start_review
from tests.browser import BrowserTestCase
from tests.browser.pages import APP, START, stand_still
from tests.factories import create_organization, create_superuser, create_user


class StandStillTests(BrowserTestCase):
    def test_the_server_asks_a_database_whose_clock_stands_still(self):
        stand_still(self)
        root = create_superuser()
        create_user("ada", admin_of=[create_organization("Acme")])
        due_on = START.date() + timedelta(days=1)
        review = start_review(ReviewScope.ALL, due_on=due_on, actor=root)
        prepare(review.pk)
        page = self.open_page_of(root.username)
        page.goto(f"{APP}accessreview/{review.pk}/overview/")
        # Is there only as long as the due date is not over.
        expect(page.get_by_role("link", name="Close review now")).to_be_visible()
