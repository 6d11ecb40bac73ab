"""Closing and canceling an access review, in a browser."""

from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import expect

from orgadmin.models import ReviewScope
from orgadmin.people.membership import find_role
from orgadmin.people.review_items import prepare
from orgadmin.people.review_schedule import run_reviews
from orgadmin.people.reviews import start_review
from tests.browser import PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.factories import create_organization, create_superuser, create_user


class ReviewClosingTests(BrowserTestCase):
    """A superuser ends a review with two presses, and its admins are informed."""

    def setUp(self):
        super().setUp()
        create_superuser("root")
        self.acme = create_organization("Acme")
        create_user("ada", admin_of=[self.acme])
        self.cyd = create_user("cyd", reviewer_of=[self.acme])
        due_on = timezone.localdate() + timedelta(days=14)
        review = start_review(ReviewScope.ALL, due_on=due_on, ends_access=True)
        prepare(review.pk)
        self.root = self.open_page_of("root")
        self.root.goto(f"/admin/orgadmin/accessreview/{review.pk}/overview/")

    def sees(self, page, text):
        expect(page.get_by_text(text)).to_be_visible()
        self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))

    def open_as_admin(self):
        page = self.open_page_of("ada")
        page.goto(f"/admin/orgadmin/organization/{self.acme.pk}/review/")
        return page

    def test_closes_a_review(self):
        self.root.get_by_role("link", name="Close review now").click()
        self.sees(self.root, "2 roles that nobody has confirmed end.")
        self.root.get_by_role("button", name="Close review now").click()
        self.sees(self.root, "The review was closed.")
        self.sees(self.open_as_admin(), "Platform staff have closed this review.")
        run_reviews()
        self.root.reload()
        self.sees(self.root, "Kept, because no active admin would be left")
        self.assertIsNone(find_role(self.acme, self.cyd))

    def test_cancels_a_review(self):
        self.root.get_by_role("link", name="Cancel review").click()
        self.sees(self.root, "Nobody has made a decision in this review.")
        self.root.get_by_role("link", name="Keep it open").click()
        self.root.get_by_role("link", name="Cancel review").click()
        self.root.get_by_role("button", name="Cancel review").click()
        self.sees(self.root, "The review was canceled. Nobody has lost access.")
        self.sees(self.open_as_admin(), "Platform staff canceled this review on")


class PhoneReviewClosingTests(ReviewClosingTests):
    viewport = PHONE
