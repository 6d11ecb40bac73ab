"""Viewing the site as someone else: what is shown, what is refused, when it ends."""

import io
import json
import logging
import re
import time
from unittest import mock

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.test import Client, TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.urls import path

from config import urls as site_urls
from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts import view_as_middleware, view_as_session
from orgadmin.logs import LogFormatter
from orgadmin.models import AuditEvent, Organization, User, UserSession
from tests.auditing import list_events
from tests.factories import (
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
)
from tests.forms_in_pages import Browser, read_form
from tests.test_matrix import World, fill, forget_messages, read, walk
from tests.test_step_up import ELEVEN_MINUTES, asks

HOME = "/admin/"
STOP = "/admin/stop-viewing/"
SIGN_OUT = "/admin/logout/"
ORGANIZATIONS = "/admin/orgadmin/organization/"
PEOPLE = "/admin/orgadmin/user/"
ACCOUNT = "/admin/account/"

MIDDLEWARE = "orgadmin.accounts.view_as_middleware.ViewAsMiddleware"
BANNER = '<section class="viewing"'
REFUSED = "This page is not shown"
UNCHANGED = "Nothing was changed"
REASON = "Ticket 4711"

HALF_AN_HOUR = 30 * 60
WRITES = ("INSERT", "UPDATE", "DELETE")
# The session of the superuser, and what they did.
WRITTEN_WHILE_VIEWING = {"django_session", "orgadmin_auditevent"}


def write_page(request):
    """Try to write, as a page could that nobody has thought of."""
    Organization.objects.filter(name="Acme").update(phone="changed")
    return HttpResponse("<body>written</body>")


def fail_page(request):
    raise RuntimeError("broken")


def unknown_page(request):
    return HttpResponse("<body>a page of tomorrow</body>")


# This module is also a module of URLs.
handler500 = site_urls.handler500
urlpatterns = [
    path("write/", write_page, name="write"),
    path("fail/", fail_page, name="fail"),
    path("unknown/", unknown_page, name="unknown"),
    *site_urls.urlpatterns,
]


class ViewAsCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root", email="root@example.com")
        cls.acme = create_organization("Acme", tax_id="DE-4711", phone="1")
        cls.other = create_organization("Beta")
        cls.mary = create_user(
            "mary",
            first_name="Mary",
            last_name="Jones",
            email="mary@example.com",
            reviewer_of=[cls.acme],
        )

    def setUp(self):
        self.client.force_login(self.root)

    def begin(self, person=None, client=None, **fields):
        person = person or self.mary
        url = f"{PEOPLE}{person.pk}/view_as/"
        return (client or self.client).post(url, {"reason": REASON} | fields)

    def assert_viewing(self, client=None, url=HOME):
        self.assertContains((client or self.client).get(url), BANNER)

    def assert_not_viewing(self, client=None, url=HOME):
        response = (client or self.client).get(url, follow=True)
        self.assertNotContains(response, BANNER)

    def find_ends(self):
        ends = AuditEvent.objects.filter(event=SecurityEvent.VIEWING_ENDED)
        return [event.details["because"] for event in ends.order_by("pk")]

    def later(self, seconds):
        return mock.patch("time.time", return_value=time.time() + seconds)


class StartTests(ViewAsCase):
    def test_the_overview_of_a_person_leads_to_the_question_and_then_to_their_home(
        self,
    ):
        overview = self.client.get(f"{PEOPLE}{self.mary.pk}/overview/")
        self.assertContains(overview, "View site as Mary Jones")
        page = self.client.get(f"{PEOPLE}{self.mary.pk}/view_as/")
        self.assertContains(page, "30 minutes")
        response = self.begin()
        self.assertRedirects(response, HOME)
        home = self.client.get(HOME)
        self.assertContains(home, "You are viewing the site as <bdi>Mary Jones</bdi>.")
        self.assertContains(home, "Stop viewing")
        self.assertContains(home, "Acme")
        self.assertNotContains(home, "Beta")

    @tag("D80")
    def test_asks_for_a_reason_and_a_recent_sign_in(self):
        self.assertContains(self.begin(reason=" "), "Enter a reason.")
        age_sign_in(self.client, ELEVEN_MINUTES)
        self.assertTrue(asks(self.begin()))
        self.assert_not_viewing()

    @tag("D80")
    def test_nobody_is_viewed_who_is_a_superuser_or_inactive_or_oneself(self):
        people = [
            create_superuser("second"),
            create_user("gone", is_active=False),
            create_superuser("old", is_active=False),
            self.root,
        ]
        for person in people:
            with self.subTest(person=person):
                url = f"{PEOPLE}{person.pk}/"
                overview = self.client.get(f"{url}overview/")
                self.assertNotContains(overview, "View site as")
                self.assertRedirects(self.begin(person), f"{url}overview/")
                self.assert_not_viewing()
        self.assertFalse(
            AuditEvent.objects.filter(event=SecurityEvent.VIEWING_STARTED).exists()
        )

    @tag("D80")
    def test_only_superusers_can_begin(self):
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        for person in (manager, self.mary):
            client = Client()
            client.force_login(person)
            overview = client.get(f"{PEOPLE}{self.mary.pk}/overview/")
            self.assertNotContains(overview, "View site as", overview.status_code)
            missing = client.post(f"{PEOPLE}999999/view_as/", {"reason": REASON})
            response = self.begin(client=client)
            self.assertEqual(response.status_code, missing.status_code)
            self.assertEqual(response["Location"], missing["Location"])
            self.assertNotIn(view_as_session.SESSION_KEY, client.session)

    @tag("D80")
    def test_viewing_is_not_nested(self):
        bob = create_user("bob", reviewer_of=[self.other])
        self.begin()
        response = self.begin(bob)
        self.assertContains(response, UNCHANGED, status_code=403)
        self.assertContains(self.client.get(HOME), "Mary Jones")

    def test_people_without_an_organization_see_the_page_that_says_so(self):
        nobody = create_user("nobody")
        response = self.begin(nobody)
        self.assertRedirects(response, "/admin/no-organization/")


class ReadOnlyTests(ViewAsCase):
    @tag("D81")
    def test_only_three_methods_are_accepted(self):
        self.begin()
        url = f"{ORGANIZATIONS}{self.acme.pk}/change/"
        for method in ("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "FOO"):
            response = self.client.generic(method, url)
            self.assertEqual(response.status_code, 403, method)
        for method in ("GET", "HEAD", "OPTIONS"):
            response = self.client.generic(method, ORGANIZATIONS)
            self.assertLess(response.status_code, 403, method)

    @tag("D81")
    def test_headers_and_fields_that_name_another_method_change_nothing(self):
        self.begin()
        url = f"{ORGANIZATIONS}{self.acme.pk}/change/"
        for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
            response = self.client.post(
                url, {"_method": "GET", "name": "x"}, headers={name: "GET"}
            )
            self.assertEqual(response.status_code, 403)
            response = self.client.get(
                url, {"_method": "POST", "name": "x"}, headers={name: "POST"}
            )
            self.assertLess(response.status_code, 403)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    @tag("D81")
    def test_forms_are_refused_before_they_are_read(self):
        """A password that is sent is not compared, and the language stays."""
        self.begin()
        confirm = {"step-up-password": "secret", "step-up-reopen": "1"}
        for url, data in [
            ("/admin/language/", {"language": "de"}),
            ("/admin/stay-signed-in/", {"session_of": self.root.pk}),
            ("/admin/second-factor/totp/activate/", confirm),
            (f"{PEOPLE}{self.mary.pk}/leave/", confirm | {"confirmed": "1"}),
            ("/admin/login/", {"username": "mary", "password": "secret"}),
        ]:
            response = self.client.post(url, data)
            self.assertContains(response, UNCHANGED, status_code=403)
        self.assertNotIn(SecurityEvent.IDENTITY_CONFIRMED, list_events(self.root))
        self.mary.refresh_from_db()
        self.root.refresh_from_db()
        self.assertEqual([self.mary.language, self.root.language], ["", ""])

    @tag("D81")
    @override_settings(ROOT_URLCONF=__name__)
    def test_the_database_refuses_what_a_page_tries_to_write(self):
        self.begin()
        with mock.patch.object(
            view_as_middleware, "PAGES", view_as_middleware.PAGES | {"write"}
        ):
            with self.assertLogs("orgadmin.accounts.view_as_middleware", "WARNING"):
                response = self.client.get("/write/")
        self.assertContains(response, REFUSED, status_code=403)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "1")
        # The barrier ends with the page.
        self.client.post(STOP)
        self.assertEqual(self.client.get("/write/").status_code, 200)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "changed")

    @tag("D81")
    def test_a_download_that_a_page_offers_is_neither_sent_nor_recorded(self):
        admin = create_user("admin", admin_of=[self.acme])
        self.begin(admin)
        with self.assertLogs("orgadmin.accounts.view_as_middleware", "WARNING"):
            response = self.client.get(f"{ORGANIZATIONS}{self.acme.pk}/ledger/?csv")
        self.assertContains(response, REFUSED, status_code=403)
        exports = AuditEvent.objects.filter(event=SecurityEvent.EXPORTED)
        self.assertFalse(exports.exists())

    def test_other_errors_of_the_database_are_reported_as_such(self):
        self.begin()
        error = DatabaseError("something else")
        self.client.raise_request_exception = False
        with mock.patch("orgadmin.admin.site.describe_home", side_effect=error):
            with self.assertLogs("django.request", "ERROR"):
                response = self.client.get(HOME)
        self.assertContains(response, BANNER, status_code=500)

    @tag("D81")
    def test_what_pages_write_on_their_own_is_not_written_as_the_person(self):
        """The superuser is recorded, even in the log of who views people."""
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "view_organization"]
        )
        self.begin(manager)
        self.client.get(PEOPLE)
        self.client.get(PEOPLE)
        events = AuditEvent.objects.filter(event=SecurityEvent.PEOPLE_VIEWED)
        self.assertEqual([event.actor_key for event in events], [self.root.pk])


# The others see some of what these see.
PEOPLE_WHO_DIFFER = (
    "no organization",
    "admin and reviewer",
    "delegated viewer",
    "delegated user manager",
)


class CrawlTests(TestCase):
    """Every URL of the site, as each kind of person."""

    @classmethod
    def setUpTestData(cls):
        cls.world = World()
        cls.root = cls.world.users["superuser"]
        cls.pages = []
        for route in walk():
            cls.pages += fill(route, cls.world)

    def setUp(self):
        self.client.force_login(self.root)

    def begin(self, person):
        url = f"{PEOPLE}{person.pk}/view_as/"
        self.assertEqual(self.client.post(url, {"reason": REASON}).status_code, 302)

    @tag("D81")
    def test_every_page_refuses_every_method_that_writes(self):
        self.begin(self.world.users["admin"])
        before = self.read_all()
        for page in self.pages:
            if page.url in (STOP, SIGN_OUT):
                continue
            for method in ("post", "trace"):
                response = getattr(self.client, method)(page.url)
                with self.subTest(url=page.url, method=method):
                    self.assertEqual(response.status_code, 403)
                    self.assertContains(response, BANNER, status_code=403)
        self.assertEqual(self.read_all(), before)

    def read_all(self):
        return [
            *User.objects.order_by("pk").values(),
            *Organization.objects.order_by("pk").values(),
            *AuditEvent.objects.order_by("pk").values("pk", "event"),
            *Session.objects.order_by("pk").values(),
        ]

    @tag("D81", "D82")
    def test_pages_are_those_of_the_person_and_write_nothing(self):
        for name in PEOPLE_WHO_DIFFER:
            person = self.world.users[name]
            own_client = Client()
            own_client.force_login(person)
            self.begin(person)
            for page in self.pages:
                with CaptureQueriesContext(connection) as queries:
                    shown = self.client.get(page.url)
                with self.subTest(name=name, url=page.url):
                    written = find_written_tables(queries)
                    self.assertLessEqual(written, WRITTEN_WHILE_VIEWING)
                    if page.label != "login/" and shown.status_code != 403:
                        self.assert_same_page(shown, own_client.get(page.url))
                forget_messages(self.client)
                forget_messages(own_client)
            self.client.post(STOP)
            forget_messages(self.client)

    def assert_same_page(self, shown, own):
        self.assertEqual(shown.status_code, own.status_code)
        self.assertEqual(shown.headers.get("Location"), own.headers.get("Location"))
        self.assertEqual(simplify(shown), simplify(own))

    @tag("D82")
    def test_pages_that_are_not_listed_are_refused(self):
        self.begin(self.world.users["delegated user manager"])
        refused = set()
        for page in self.pages:
            response = self.client.get(page.url)
            if response.status_code == 403:
                self.assertContains(response, BANNER, status_code=403)
                refused.add(page.label)
        self.assertLessEqual(
            {
                "account/",
                "activity/",
                "confirm-email/<token>/",
                "invitation/<token>/",
                "new-email/<token>/",
                "orgadmin/organization/export/",
                "orgadmin/organization/import/",
                "orgadmin/user/<object_id>/access/",
                "orgadmin/user/<object_id>/activity/",
                "orgadmin/user/<object_id>/export/",
                "orgadmin/user/<object_id>/password_link/",
                "password_change/",
                "password_reset/",
                "reset/<uidb64>/<token>/",
                "second-factor/",
                "second-factor/recovery-codes/",
                "second-factor/recovery-codes/download/",
                "second-factor/totp/activate/",
            },
            refused,
        )


class ShownTests(ViewAsCase):
    """The pages show what the person sees, but nothing about their account."""

    @tag("D82")
    @override_settings(ROOT_URLCONF=__name__)
    def test_a_page_that_is_added_later_is_refused(self):
        self.assertEqual(self.client.get("/unknown/").status_code, 200)
        self.begin()
        for method in (self.client.get, self.client.head, self.client.options):
            self.assertEqual(method("/unknown/").status_code, 403)

    @tag("D82")
    def test_the_rule_hides_what_the_person_may_not_see(self):
        self.begin()
        url = f"{ORGANIZATIONS}{self.acme.pk}/overview/"
        self.assertNotContains(self.client.get(url), "DE-4711")
        hidden = f"{ORGANIZATIONS}{self.other.pk}/overview/"
        self.assertRedirects(self.client.get(hidden), HOME)
        self.assertEqual(self.client.head(hidden).status_code, 302)
        people = self.client.get(f"{ORGANIZATIONS}{self.acme.pk}/people/")
        self.assertContains(people, "You cannot open this page", status_code=403)

    @tag("D82")
    def test_losing_access_counts_at_once(self):
        self.begin()
        url = f"{ORGANIZATIONS}{self.acme.pk}/overview/"
        self.assertContains(self.client.get(url), "Acme")
        self.mary.groups.clear()
        response = self.client.get(url, follow=True)
        self.assertRedirects(response, "/admin/no-organization/")
        self.assertNotContains(response, "Acme")

    @tag("D82")
    def test_a_recent_sign_in_of_the_superuser_is_not_that_of_the_person(self):
        """Where the person would have to confirm who they are, nothing is shown."""
        admin = create_user("admin", admin_of=[self.acme])
        self.begin(admin)
        pages = view_as_middleware.PAGES | {"admin:orgadmin_organization_import"}
        with mock.patch.object(view_as_middleware, "PAGES", pages):
            response = self.client.get(f"{ORGANIZATIONS}import/")
        self.assertContains(response, REFUSED, status_code=403)
        self.assertNotContains(response, "password", status_code=403)

    @tag("D82")
    def test_forms_get_no_key_that_is_signed_for_the_person(self):
        admin = create_user("admin", admin_of=[self.acme])
        self.begin(admin)
        page = self.client.get(f"{ORGANIZATIONS}{self.acme.pk}/change/")
        self.assertNotIn(":", read_form(page)["form_key"][0])

    @tag("D82")
    @override_settings(ROOT_URLCONF=__name__)
    def test_the_banner_is_on_pages_about_errors(self):
        self.begin()
        self.client.raise_request_exception = False
        with mock.patch.object(
            view_as_middleware, "PAGES", view_as_middleware.PAGES | {"fail"}
        ):
            with self.assertLogs("django.request", "ERROR"):
                self.assertContains(self.client.get("/fail/"), BANNER, status_code=500)
        for url in ("/nothing", "/admin/nothing/"):
            response = self.client.get(url)
            self.assertContains(response, BANNER, status_code=response.status_code)

    def test_the_health_checks_do_not_read_the_session(self):
        self.begin()
        with self.assertNumQueries(0):
            self.assertEqual(self.client.get("/livez").status_code, 200)

    def test_pages_of_people_who_view_as_nobody_run_no_more_queries(self):
        self.client.get(HOME)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(f"{PEOPLE}{self.mary.pk}/overview/")
        number = len(queries)
        others = [name for name in settings.MIDDLEWARE if name != MIDDLEWARE]
        with mock.patch.object(settings, "MIDDLEWARE", others):
            client = Client()
            client.force_login(self.root)
            client.get(HOME)
            with self.assertNumQueries(number):
                client.get(f"{PEOPLE}{self.mary.pk}/overview/")


def find_written_tables(queries):
    """Return the names of the tables that some queries write to."""
    return {
        re.search(r'"(\w+)"', query["sql"])[1]
        for query in queries
        if query["sql"].lstrip().startswith(WRITES)
    }


def simplify(response):
    """Return a page without what differs between two sessions, and the banner."""
    text = read(response)
    text = re.sub(r'<section class="viewing".*?</section>\s*', "", text, flags=re.S)
    text = re.sub(r'<section\s+id="session-end".*?</section>', "", text, flags=re.S)
    text = re.sub(
        r'<p class="visually-hidden" role="status".*?</p>', "", text, flags=re.S
    )
    text = re.sub(r"<script[^>]*session.js[^>]*></script>", "", text)
    text = re.sub(r'value="[\w:-]{20,}"', "", text)
    return re.sub(r"\s+", " ", text)


class EndTests(ViewAsCase):
    @tag("D83")
    def test_stops_with_the_button_and_leads_to_the_person(self):
        self.begin()
        response = self.client.post(STOP)
        self.assertRedirects(response, f"{PEOPLE}{self.mary.pk}/overview/")
        self.assert_not_viewing()
        self.assertEqual(self.find_ends(), ["stopped"])
        # A second time, from another tab.
        self.assertRedirects(self.client.post(STOP), HOME)
        self.assertEqual(self.find_ends(), ["stopped"])
        self.assertEqual(self.client.get(STOP).status_code, 405)

    @tag("D83")
    def test_ends_after_half_an_hour_however_often_it_is_used(self):
        self.begin()
        for minutes in (10, 20, 29):
            with self.later(minutes * 60):
                self.assert_viewing()
        with self.later(HALF_AN_HOUR + 1):
            age = self.client.get(f"{ORGANIZATIONS}?q=x")
            self.assertRedirects(age, HOME, fetch_redirect_response=False)
            self.assert_not_viewing()
        self.assertEqual(self.find_ends(), ["time was over"])

    @tag("D83")
    def test_ends_if_the_clock_was_set_back(self):
        self.begin()
        with self.later(-60):
            self.assert_not_viewing()

    @tag("D83")
    def test_a_form_that_is_sent_after_the_end_changes_nothing(self):
        self.begin()
        url = f"{ORGANIZATIONS}{self.acme.pk}/change/"
        with self.later(HALF_AN_HOUR + 1):
            response = self.client.post(url, {"name": "Changed"})
            self.assertContains(response, UNCHANGED, status_code=403)
            self.assertNotContains(response, BANNER, status_code=403)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    @tag("D83")
    def test_forms_of_other_tabs_have_old_tokens_after_the_start_and_the_end(self):
        """A form that was opened as the person is not sent as the superuser."""
        admin = create_user("admin", admin_of=[self.acme])
        browser = Browser()
        browser.force_login(self.root)
        page = browser.get(f"{PEOPLE}{admin.pk}/view_as/")
        before = read_form(page, "reason") | {"reason": [REASON]}
        browser.send(f"{PEOPLE}{admin.pk}/view_as/", before)
        change = f"{ORGANIZATIONS}{self.acme.pk}/change/"
        form = read_form(browser.get(change)) | {"name": ["Changed"]}
        stop = read_form(browser.get(HOME), "csrfmiddlewaretoken")
        self.assertEqual(browser.send(change, form).status_code, 403)
        browser.send(STOP, stop)
        self.assertEqual(browser.send(change, form).status_code, 403)
        # One's own form is shown again, and nothing has begun.
        response = browser.send(f"{PEOPLE}{admin.pk}/view_as/", before)
        self.assertContains(browser.get(response["Location"]), REASON)
        self.assert_not_viewing(browser)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    @tag("D83")
    def test_stopping_needs_the_token_of_a_page(self):
        browser = Browser()
        browser.force_login(self.root)
        url = f"{PEOPLE}{self.mary.pk}/view_as/"
        form = read_form(browser.get(url), "reason") | {"reason": [REASON]}
        browser.send(url, form)
        self.assertEqual(browser.post(STOP).status_code, 403)
        self.assert_viewing(browser)

    @tag("D83")
    def test_a_request_that_runs_at_the_same_time_does_not_bring_it_back(self):
        self.begin()
        with_viewing = self.client.cookies[settings.SESSION_COOKIE_NAME].value
        self.client.post(STOP)
        other_tab = Client()
        other_tab.cookies[settings.SESSION_COOKIE_NAME] = with_viewing
        self.assertEqual(other_tab.get(HOME).status_code, 302)
        self.assert_not_viewing()
        self.assertEqual(UserSession.objects.filter(user=self.root).count(), 1)

    @tag("D83")
    def test_signing_out_ends_it_with_the_session(self):
        self.begin()
        self.client.post(SIGN_OUT)
        self.assertEqual(self.client.get(HOME).status_code, 302)
        self.assertEqual(self.find_ends(), ["signed out"])
        self.assertEqual(list_events(self.root)[-1], SecurityEvent.SIGNED_OUT)
        self.client.force_login(self.root)
        self.assert_not_viewing()

    @tag("D83")
    def test_ends_with_the_session_of_the_superuser(self):
        """The time limit of platform staff, which is shorter than the person's."""
        self.begin()
        session = self.client.session
        session["last_seen"] -= settings.STAFF_SESSION_IDLE_MINUTES * 60
        session.save()
        response = self.client.get(HOME)
        self.assertIn("/admin/login/", response["Location"])
        self.assertEqual(self.find_ends(), ["signed out"])

    @tag("D83")
    def test_ends_if_it_is_no_longer_allowed(self):
        create_superuser("second")
        for changes in (
            {"user": self.mary, "is_active": False},
            {"user": self.mary, "is_superuser": True},
            {"user": self.root, "is_superuser": False},
        ):
            user = changes.pop("user")
            name = next(iter(changes))
            value = changes[name]
            with self.subTest(user=user, name=name):
                self.client.force_login(self.root)
                self.begin()
                before = getattr(user, name)
                setattr(user, name, value)
                user.save()
                self.assert_not_viewing()
                self.assertNotIn(view_as_session.SESSION_KEY, self.client.session)
                setattr(user, name, before)
                user.save()
        self.assertEqual(self.find_ends(), ["no longer allowed"] * 3)

    @tag("D83")
    def test_ends_if_the_superuser_is_deactivated_or_gets_another_password(self):
        create_superuser("second")
        self.begin()
        self.root.set_password("another password of root")
        self.root.save()
        self.assertIn("/admin/login/", self.client.get(HOME)["Location"])
        self.client.force_login(self.root)
        self.assert_not_viewing()

    @tag("D83")
    def test_whatever_is_unclear_in_the_session_ends_it(self):
        now = time.time()
        good = {"viewer": self.root.pk, "person": self.mary.pk, "until": now + 60}
        broken = [
            None,
            [],
            {},
            good | {"viewer": self.mary.pk},
            good | {"person": 999_999},
            good | {"person": str(self.mary.pk)},
            good | {"until": None},
            good | {"until": now + HALF_AN_HOUR + 60},
            good | {"until": float("inf")},
            good | {"more": 1},
        ]
        for kept in broken:
            with self.subTest(kept=kept):
                session = self.client.session
                session[view_as_session.SESSION_KEY] = kept
                session.save()
                self.assert_not_viewing()
                self.assertNotIn(view_as_session.SESSION_KEY, self.client.session)

    @tag("D83")
    def test_a_deleted_person_is_no_longer_viewed(self):
        self.begin()
        User.objects.filter(pk=self.mary.pk).delete()
        self.assert_not_viewing()


class RecordTests(ViewAsCase):
    @tag("D84")
    def test_the_start_and_the_end_are_recorded_for_both(self):
        self.begin()
        self.client.post(STOP)
        started, ended = AuditEvent.objects.filter(
            event__startswith="viewing"
        ).order_by("pk")
        for event in (started, ended):
            self.assertEqual(event.user_key, self.mary.pk)
            self.assertEqual(event.actor_key, self.root.pk)
        self.assertEqual(started.details, {"minutes": 30})
        # It may name people, so it is erased with the person.
        self.assertEqual(started.personal, {"reason": REASON})
        self.assertEqual(ended.details, {"because": "stopped"})

    @tag("D84")
    def test_the_person_reads_why_but_not_who(self):
        self.begin()
        page = self.client.get(f"{PEOPLE}{self.mary.pk}/activity/")
        self.assertEqual(page.status_code, 403)
        self.client.post(STOP)
        page = self.client.get(f"{PEOPLE}{self.mary.pk}/activity/")
        self.assertContains(page, "Site viewed as this person")
        self.assertContains(page, REASON)
        own = Client()
        own.force_login(self.mary)
        page = own.get("/admin/activity/")
        self.assertContains(page, "Site viewed as this person")
        self.assertContains(page, "Platform staff")
        self.assertContains(page, REASON)
        self.assertNotContains(page, "root")

    @tag("D84")
    def test_nothing_of_the_person_changes(self):
        own = Client()
        own.force_login(self.mary)
        before = User.objects.filter(pk=self.mary.pk).values().get()
        sessions = list(UserSession.objects.filter(user=self.mary).values())
        self.begin()
        for url in (HOME, ORGANIZATIONS, f"{ORGANIZATIONS}{self.acme.pk}/overview/"):
            self.client.get(url)
        self.client.post(STOP)
        after = User.objects.filter(pk=self.mary.pk).values().get()
        self.assertEqual(after, before)
        after = list(UserSession.objects.filter(user=self.mary).values())
        self.assertEqual(after, sessions)
        self.assertEqual(own.get(HOME).status_code, 200)

    @tag("D84")
    def test_the_request_log_has_the_keys_of_both(self):
        self.begin()
        for url in (HOME, ACCOUNT, "/admin/nothing"):
            line = self.read_log(url)
            self.assertEqual(line["user"], self.root.pk)
            self.assertEqual(line["viewed_as"], self.mary.pk)
        self.client.post(STOP)
        self.assertNotIn("viewed_as", self.read_log(HOME))

    def read_log(self, url):
        handler = logging.StreamHandler(io.StringIO())
        handler.setFormatter(LogFormatter())
        logger = logging.getLogger("orgadmin.requests")
        level = logger.level
        logger.setLevel("INFO")
        logger.addHandler(handler)
        try:
            self.client.get(url)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        return json.loads(handler.stream.getvalue().splitlines()[-1])

    def test_the_language_is_that_of_the_superuser_and_its_cookie_stays(self):
        self.mary.language = "de"
        self.mary.save()
        self.begin()
        response = self.client.get(HOME)
        self.assertContains(response, "Stop viewing")
        self.assertNotIn(settings.LANGUAGE_COOKIE_NAME, response.cookies)
