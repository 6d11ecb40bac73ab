"""Where pages show that requests and access reviews wait for an answer."""

from datetime import timedelta
from unittest import mock

from django.contrib.auth.models import Permission
from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.models import AccessRequest, ReviewSection
from orgadmin.models.access_request import LIFETIME
from orgadmin.people import access_requests, archive, reviews
from orgadmin.people.ends import find_today
from orgadmin.people.review_items import prepare

from .factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

HOME = "/admin/"
LIST = "/admin/orgadmin/organization/"


class WaitingCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme")
        cls.beta = create_organization("Beta")
        cls.ada = create_user("ada", admin_of=[cls.acme])
        cls.rev = create_user("rev", reviewer_of=[cls.acme, cls.beta])
        cls.manager = create_user("manager", is_staff=True)
        codenames = ["view_organization", "manage_members_organization"]
        cls.manager.user_permissions.set(
            Permission.objects.filter(codename__in=codenames)
        )
        cls.viewer = create_user(
            "viewer", is_staff=True, permissions=["view_organization"]
        )

    def ask(self, organization, name="mary"):
        user = create_user(name)
        token = access_requests.make_link(organization, actor=self.root)
        return access_requests.ask(token, user, REVIEWER, "")

    def start_review(self, **values):
        review = reviews.start_review(
            "all", due_on=find_today() + timedelta(days=9), **values
        )
        prepare(review.pk)
        return review

    def get(self, user, url):
        self.client.force_login(user)
        response = self.client.get(url)
        self.assertEqual(response.status_code, 200)
        return response

    def find(self, user, query):
        changelist = self.get(user, f"{LIST}{query}").context["cl"]
        return [str(row) for row in changelist.result_list]


class FilterTests(WaitingCase):
    @tag("A52")
    def test_finds_organizations_of_which_the_person_may_know_it(self):
        for organization in (self.acme, self.beta):
            self.ask(organization, f"mary of {organization}")
        self.start_review()
        for query in ("?waiting=requests", "?waiting=review"):
            with self.subTest(query):
                for user in (self.root, self.manager):
                    self.assertEqual(self.find(user, query), ["Acme", "Beta"])
                self.assertEqual(self.find(self.ada, query), ["Acme"])
                for user in (self.rev, self.viewer):
                    self.assertEqual(self.find(user, query), [])
        # A reviewer of one and admin of the other learns nothing of the first.
        set_role(self.beta, [self.ada], REVIEWER)
        self.assertEqual(self.find(self.ada, "?waiting=requests"), ["Acme"])

    def test_finds_only_requests_that_can_be_answered(self):
        asked = self.ask(self.acme)
        self.assertEqual(self.find(self.root, "?waiting=requests"), ["Acme"])
        access_requests.decline(asked, "", actor=self.root)
        self.assertEqual(self.find(self.root, "?waiting=requests"), [])
        late = self.ask(self.beta, "late")
        AccessRequest.objects.filter(pk=late.pk).update(
            asked_at=timezone.now() - LIFETIME
        )
        self.assertEqual(self.find(self.root, "?waiting=requests"), [])

    def test_finds_only_reviews_that_can_be_answered(self):
        self.start_review()
        self.assertEqual(self.find(self.root, "?waiting=review"), ["Acme", "Beta"])
        answered = ReviewSection.objects.filter(organization_key=self.acme.pk)
        answered.update(open_items=0)
        self.assertEqual(self.find(self.root, "?waiting=review"), ["Beta"])


class HomeTests(WaitingCase):
    def get_concerns(self, user):
        concerns = self.get(user, HOME).context["concerns"]
        return {concern.text: (concern.count, concern.url) for concern in concerns}

    def test_counts_lead_to_as_many_organizations(self):
        for name in ("mary", "john"):
            self.ask(self.acme, name)
        self.start_review()
        gone = create_organization("Gone")
        self.ask(gone, "someone")
        archive.archive([gone.pk], actor=self.root)
        texts = {
            "organization with a request for access": 1,
            "organizations without an answer in an access review": 2,
        }
        for user in (self.root, self.manager):
            concerns = self.get_concerns(user)
            for text, number in texts.items():
                count, url = concerns[text]
                self.assertEqual(count, number)
                rows = self.get(user, url).context["cl"].result_list
                self.assertEqual(len(rows), number)

    @tag("A50")
    def test_says_nothing_to_people_who_manage_no_members(self):
        self.ask(self.acme)
        self.start_review()
        self.assertIsNone(self.get(self.viewer, HOME).context["concerns"])
        for url in (HOME, f"{LIST}{self.acme.pk}/overview/"):
            for user in (self.rev, self.viewer):
                page = self.get(user, url).content.decode()
                self.assertNotIn("request for access", page)
                self.assertNotIn("Review access by", page)

    def test_org_admins_are_led_to_the_page_that_answers(self):
        for name in ("mary", "john"):
            self.ask(self.acme, name)
        self.start_review()
        pages = (HOME, f"{LIST}{self.acme.pk}/overview/")
        for url in pages:
            with self.subTest(url):
                response = self.get(self.ada, url)
                self.assertContains(response, "2 unanswered requests for access")
                self.assertContains(response, "Review access by")
                for page in ("requests", "review"):
                    address = f"{LIST}{self.acme.pk}/{page}/"
                    self.assertContains(response, f'href="{address}"')
                    self.assertEqual(self.client.get(address).status_code, 200)

    def test_costs_the_same_for_many_requests(self):
        self.ask(self.acme)
        self.get(self.ada, HOME)
        with mock.patch.object(access_requests, "LIMIT_TO_ORGANIZATION", 10_000):
            with CaptureQueriesContext(connection) as few:
                self.client.get(HOME)
            expected = len(few)
            for number in range(30):
                self.ask(self.acme, f"person {number}")
        self.get(self.ada, HOME)
        with self.assertNumQueries(expected):
            self.client.get(HOME)
