"""People ask an organization for a role: the link, the request, and the answer."""

from datetime import timedelta
from unittest import mock, skipUnless

from django.core import mail
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client, TestCase, TransactionTestCase, tag
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.ends import find_start_of_next_day
from orgadmin.models import (
    AccessLink,
    AccessRequest,
    AuditEvent,
    Membership,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.models.access_request import LIFETIME, Outcome
from orgadmin.models.invitation import hash_token
from orgadmin.people import access_requests, worker
from orgadmin.people.access_requests import (
    AlreadyAsked,
    AlreadyMember,
    LinkGone,
    RequestGone,
    TooManyRequests,
    approve,
    ask,
    decline,
    delete_old_requests,
    make_link,
    remove_link,
)
from orgadmin.people.archive import archive
from orgadmin.people.membership import find_role
from tests.auditing import list_events
from tests.factories import (
    ADMIN,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.forms_in_pages import read_form
from tests.mailing import queues_mail, work
from tests.test_step_up import ELEVEN_MINUTES, asks
from tests.together import run_together

REASON = "I keep the accounts."
DEAD = "This link does not work"


def get_address(token):
    return reverse("request_access", args=[token])


class RequestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme", tax_id="DE-4711", notes="Canary")
        cls.zelda = create_user("zelda", email="zelda@example.com", admin_of=[cls.acme])
        cls.mary = create_user(
            "mary", first_name="Mary", last_name="Jones", email="mary@example.com"
        )
        cls.root = create_superuser("root")

    def setUp(self):
        self.token = make_link(self.acme, actor=self.zelda)
        self.address = get_address(self.token)
        self.page = reverse("admin:orgadmin_organization_requests", args=[self.acme.pk])
        self.admin = Client()
        self.admin.force_login(self.zelda)
        self.client.force_login(self.mary)

    def send(self, **fields):
        data = {"role": "reviewer", "reason": REASON} | fields
        return self.client.post(self.address, data)

    def ask(self, user=None, role=REVIEWER):
        return ask(self.token, user or self.mary, role, REASON)

    def expire(self, asked):
        asked.asked_at = timezone.now() - LIFETIME
        asked.save()


class LinkTests(RequestCase):
    @tag("D85")
    def test_the_database_has_only_a_hash_of_the_link(self):
        link = AccessLink.objects.get()
        self.assertEqual(link.token_hash, hash_token(self.token))
        self.assertNotIn(self.token, str(AccessLink.objects.values().get()))

    @tag("D85")
    def test_the_page_shows_a_new_link_once(self):
        response = self.admin.post(self.page, {"make_link": "1"})
        form = response.context["new_link"]
        self.assertContains(response, form)
        token = form.rstrip("/").rpartition("/")[2]
        self.assertEqual(access_requests.find_organization(token), self.acme)
        self.assertNotContains(self.admin.get(self.page), token)

    @tag("D85")
    def test_a_renewed_or_removed_link_answers_like_one_that_never_existed(self):
        never = self.client.get(get_address("x" * len(self.token)))
        self.assertContains(never, DEAD, status_code=404)
        renewed = make_link(self.acme, actor=self.zelda)
        remove_link(self.acme, actor=self.zelda)
        for token in (self.token, renewed, "short", "ü" * 500):
            for method in (self.client.get, self.client.post):
                with CaptureQueriesContext(connection) as queries:
                    response = method(get_address(token))
                self.assertEqual(response.status_code, 404)
                self.assertEqual(response.content, never.content)
                links = [q for q in queries if "orgadmin_accesslink" in q["sql"]]
                self.assertEqual(len(links), 1)

    @tag("D85")
    def test_visitors_sign_in_first_whatever_the_link(self):
        visitor = Client()
        for address in (self.address, get_address("nothing")):
            response = visitor.get(address)
            self.assertRedirects(response, f"/admin/login/?next={address}")

    @tag("D85")
    def test_shows_the_name_of_the_organization_and_nothing_else(self):
        page = self.client.get(self.address)
        self.assertContains(page, "Acme")
        for text in ("DE-4711", "Canary", "zelda"):
            self.assertNotContains(page, text)

    @tag("D85")
    def test_only_people_who_manage_the_members_have_the_page(self):
        reviewer = create_user("reviewer", reviewer_of=[self.acme])
        missing = reverse("admin:orgadmin_organization_requests", args=[999_999])
        other = create_user("other", admin_of=[create_organization("Other")])
        for user, status in ((reviewer, 403), (other, 302)):
            client = Client()
            client.force_login(user)
            for data in ({"make_link": "1"}, {"remove_link": "1"}):
                response = client.post(self.page, data)
                self.assertEqual(response.status_code, status)
            if status == 302:
                location = client.get(missing)["Location"]
                self.assertEqual(response["Location"], location)
        self.assertEqual(access_requests.find_organization(self.token), self.acme)
        with self.assertRaises(PermissionDenied):
            make_link(self.acme, actor=reviewer)
        with self.assertRaises(PermissionDenied):
            remove_link(self.acme, actor=reviewer)

    def test_switches_the_link_off(self):
        response = self.admin.post(self.page, {"remove_link": "1"}, follow=True)
        self.assertContains(response, "The link was switched off.")
        self.assertContains(response, "Create link")
        self.assertFalse(remove_link(self.acme, actor=self.zelda))

    def test_the_link_is_in_the_audit_log_without_its_secret(self):
        remove_link(self.acme, actor=self.zelda)
        events = list(self.read_events())
        self.assertEqual(
            [event.event for event in events],
            [SecurityEvent.ACCESS_LINK_CREATED, SecurityEvent.ACCESS_LINK_REMOVED],
        )
        for event in events:
            self.assertEqual(event.details, {"organization": self.acme.pk})
            self.assertEqual(event.actor_key, self.zelda.pk)

    def read_events(self):
        return AuditEvent.objects.filter(event__startswith="access link").order_by("pk")


class AskTests(RequestCase):
    def test_someone_who_belongs_to_nothing_asks_and_sees_what_became_of_it(self):
        page = self.client.get(self.address)
        self.assertContains(page, "Ask for access")
        self.assertRedirects(self.send(), self.address)
        page = self.client.get(self.address)
        self.assertContains(page, "You asked for the role Reviewer")
        for address in ("/admin/account/", "/admin/no-organization/"):
            page = self.client.get(address)
            self.assertContains(page, "Your requests for access")
            self.assertContains(page, "Acme")
        asked = AccessRequest.objects.get()
        self.assertEqual([asked.role, asked.reason], ["reviewer", REASON])
        self.assertEqual(asked.user, self.mary)

    def test_the_page_leads_on_after_the_sign_in(self):
        visitor = Client()
        data = {"username": "mary", "password": "secret", "next": self.address}
        self.assertRedirects(visitor.post("/admin/login/", data), self.address)

    def test_a_role_and_a_reason_are_required(self):
        for fields in ({"reason": " "}, {"role": ""}, {"role": "unknown"}):
            response = self.send(**fields)
            self.assertEqual(response.status_code, 200)
        self.assertFalse(AccessRequest.objects.exists())

    @tag("D86")
    def test_the_next_request_waits_for_the_answer_to_the_first(self):
        self.send()
        self.assertRedirects(self.send(role="admin"), self.address)
        self.assertEqual(AccessRequest.objects.get().role, "reviewer")
        with self.assertRaises(AlreadyAsked):
            self.ask()

    @tag("D86")
    def test_an_answer_or_the_end_of_the_time_permits_another_request(self):
        asked = self.ask()
        decline(asked, "Ask in spring.", actor=self.zelda)
        page = self.client.get(self.address)
        self.assertContains(page, "Ask in spring.")
        asked = self.ask()
        self.expire(asked)
        self.assertContains(
            self.client.get("/admin/account/"), "Expired without an answer"
        )
        self.ask(role=ADMIN)
        self.assertEqual(AccessRequest.objects.get().role, "admin")

    def test_members_are_led_to_the_organization(self):
        set_role(self.acme, [self.mary], REVIEWER)
        page = self.client.get(self.address)
        self.assertContains(page, "You have the role Reviewer")
        self.assertRedirects(self.send(), self.address)
        with self.assertRaises(AlreadyMember):
            self.ask()

    @tag("D86")
    def test_requests_of_a_person_and_to_an_organization_are_limited(self):
        with mock.patch.object(access_requests, "LIMIT_BY_SENDER", 2):
            for number in range(3):
                AccessRequest.objects.all().delete()
                response = self.send()
                self.assertEqual(response.status_code, 302 if number < 2 else 200)
        self.assertContains(response, "there were too many in a day")
        self.assertContains(response, REASON)
        self.assertFalse(AccessRequest.objects.exists())
        with mock.patch.object(access_requests, "LIMIT_TO_ORGANIZATION", 2):
            with self.assertRaises(TooManyRequests):
                self.ask(create_user("bob"))

    def test_admins_get_mail_with_what_was_typed_made_harmless(self):
        with self.captureOnCommitCallbacks(execute=True):
            self.send(reason="See https://evil.example now")
        [message] = mail.outbox
        self.assertEqual(message.to, ["zelda@example.com"])
        self.assertNotIn("Acme", message.subject)
        self.assertIn("Mary Jones", message.body)
        self.assertNotIn("https://evil.example", message.body)
        self.assertIn(f"{self.page}?request=", message.body)

    @tag("D85")
    def test_a_link_that_is_switched_off_during_the_request_does_not_count(self):
        asked_for = access_requests.find_organization(self.token)
        with mock.patch.object(
            access_requests, "find_organization", side_effect=[asked_for, LinkGone]
        ):
            with self.assertRaises(LinkGone):
                self.ask()


class AnswerTests(RequestCase):
    def setUp(self):
        super().setUp()
        self.asked = self.ask()
        self.question = f"{self.page}?request={self.asked.pk}"

    def answer(self, client=None, **fields):
        data = {"request": self.asked.pk} | fields
        return (client or self.admin).post(self.page, data)

    def test_admins_see_requests_on_the_people_page_and_answer_them(self):
        people = reverse("admin:orgadmin_organization_people", args=[self.acme.pk])
        for address in (people, self.page):
            page = self.admin.get(address)
            self.assertContains(page, "Mary Jones")
            self.assertContains(page, self.question)
        page = self.admin.get(self.question)
        self.assertContains(page, REASON)
        self.assertContains(page, "Not confirmed")
        response = self.answer(approve="1", role="reviewer")
        self.assertRedirects(response, people)
        self.assertEqual(find_role(self.acme, self.mary), REVIEWER)
        self.assertNotContains(self.admin.get(people), self.question)
        event = MembershipEvent.objects.latest("pk")
        self.assertEqual(event.reason, "Request approved.")
        self.assertEqual(event.actor_key, self.zelda.pk)
        page = self.client.get("/admin/account/")
        self.assertContains(page, "Approved on")

    def test_gives_another_role_until_a_day(self):
        day = timezone.localdate() + timedelta(days=30)
        age_sign_in(self.admin, 1)
        self.answer(approve="1", role="admin", ends_on=day.isoformat())
        self.assertEqual(find_role(self.acme, self.mary), ADMIN)
        membership = Membership.objects.get(user=self.mary)
        self.assertEqual(membership.ends_at, find_start_of_next_day(day))

    def test_refuses_a_day_in_the_past(self):
        day = timezone.localdate() - timedelta(days=2)
        response = self.answer(approve="1", role="reviewer", ends_on=day.isoformat())
        self.assertContains(response, "This day has passed.")
        self.assertIsNone(find_role(self.acme, self.mary))

    def test_declines_with_a_reason_that_the_person_reads(self):
        with self.captureOnCommitCallbacks(execute=True):
            response = self.answer(decline="1", reason="Ask in spring.")
        self.assertRedirects(response, self.page)
        self.assertIsNone(find_role(self.acme, self.mary))
        message = mail.outbox[-1]
        self.assertEqual(message.to, ["mary@example.com"])
        self.assertIn("Ask in spring.", message.body)
        self.assertNotIn("zelda", message.body)
        page = self.client.get("/admin/account/")
        self.assertContains(page, "Ask in spring.")
        self.assertNotContains(page, "zelda")
        self.assertIn(SecurityEvent.ACCESS_DECLINED, list_events(self.mary))

    @tag("D86")
    def test_a_managing_role_needs_a_recent_sign_in(self):
        age_sign_in(self.admin, ELEVEN_MINUTES)
        self.assertTrue(asks(self.answer(approve="1", role="admin")))
        self.assertFalse(asks(self.answer(decline="1", reason="")))

    @tag("D86")
    def test_nobody_else_answers(self):
        reviewer = create_user("reviewer", reviewer_of=[self.acme])
        other = create_user("other", admin_of=[create_organization("Other")])
        for user in (reviewer, other, self.mary):
            client = Client()
            client.force_login(user)
            self.answer(client, approve="1", role="reviewer")
            self.answer(client, decline="1")
            for decide in (
                lambda actor=user: approve(self.asked, REVIEWER, actor=actor),
                lambda actor=user: decline(self.asked, "", actor=actor),
            ):
                with self.assertRaises(PermissionDenied):
                    decide()
        self.asked.refresh_from_db()
        self.assertTrue(self.asked.is_open)
        self.assertIsNone(find_role(self.acme, self.mary))

    @tag("D86")
    def test_the_key_of_a_request_to_another_organization_finds_nothing(self):
        other = create_organization("Other")
        set_role(other, [self.zelda], ADMIN)
        page = reverse("admin:orgadmin_organization_requests", args=[other.pk])
        response = self.admin.get(f"{page}?request={self.asked.pk}", follow=True)
        self.assertContains(response, "Nothing was changed")
        self.assertNotContains(response, "Mary")
        self.admin.post(
            page, {"request": self.asked.pk, "approve": "1", "role": "reviewer"}
        )
        self.assertIsNone(find_role(other, self.mary))
        self.assertIsNone(find_role(self.acme, self.mary))

    @tag("D86")
    def test_a_request_is_answered_once(self):
        decline(self.asked, "", actor=self.zelda)
        response = self.answer(approve="1", role="reviewer")
        self.assertRedirects(response, self.page)
        with self.assertRaises(RequestGone):
            approve(self.asked, REVIEWER, actor=self.root)
        self.assertIsNone(find_role(self.acme, self.mary))

    @tag("D86")
    def test_expired_requests_and_those_of_deactivated_people_cannot_be_answered(self):
        self.mary.is_active = False
        self.mary.save()
        with self.assertRaises(RequestGone):
            approve(self.asked, REVIEWER, actor=self.zelda)
        self.mary.is_active = True
        self.mary.save()
        self.expire(self.asked)
        with self.assertRaises(RequestGone):
            approve(self.asked, REVIEWER, actor=self.zelda)
        self.assertNotContains(self.admin.get(self.page), "Mary Jones")
        self.assertIsNone(find_role(self.acme, self.mary))

    def test_a_role_that_was_given_meanwhile_is_not_lowered(self):
        set_role(self.acme, [self.mary], ADMIN)
        self.assertEqual(approve(self.asked, REVIEWER, actor=self.zelda), ADMIN)
        self.assertEqual(find_role(self.acme, self.mary), ADMIN)

    def test_nothing_is_left_of_deleted_people_and_organizations(self):
        User.objects.filter(pk=self.mary.pk).delete()
        self.assertFalse(AccessRequest.objects.exists())
        response = self.answer(approve="1", role="reviewer")
        self.assertRedirects(response, self.page)
        Organization.objects.filter(pk=self.acme.pk).delete()
        self.assertFalse(AccessLink.objects.exists())
        with self.assertRaises(Organization.DoesNotExist):
            approve(self.asked, REVIEWER, actor=self.root)

    @tag("B15", "D85", "D86")
    def test_an_archived_organization_is_asked_nothing_and_answers_nothing(self):
        archive([self.acme.pk], actor=self.root)
        response = self.client.get(self.address)
        self.assertContains(response, DEAD, status_code=404)
        with self.assertRaises(LinkGone):
            self.ask(create_user("bob"))
        for decide in (
            lambda: approve(self.asked, REVIEWER, actor=self.root),
            lambda: decline(self.asked, "", actor=self.root),
        ):
            with self.assertRaises(Organization.DoesNotExist):
                decide()
        self.assertIsNone(find_role(self.acme, self.mary))

    def test_the_worker_deletes_requests_of_long_ago(self):
        recent = self.ask(create_user("bob"))
        self.asked.asked_at = timezone.now() - access_requests.KEPT_FOR
        self.asked.save()
        with mock.patch.object(access_requests, "BATCH", 1):
            self.assertEqual(delete_old_requests(), 1)
        self.assertEqual(AccessRequest.objects.get(), recent)
        works = [periodic.work for periodic in worker.PERIODIC]
        self.assertIn(delete_old_requests, works)

    def test_no_mail_about_a_request_that_was_answered_before_it_is_sent(self):
        mail.outbox.clear()
        with queues_mail():
            asked = self.ask(create_user("bob"))
            decline(asked, "", actor=self.zelda)
            self.assertEqual(work(), 2)
        self.assertEqual(mail.outbox, [])

    def test_number_of_queries_does_not_depend_on_the_number_of_requests(self):
        with CaptureQueriesContext(connection) as queries:
            self.admin.get(self.page)
        number = len(queries)
        for name in "abcdef":
            self.ask(create_user(name))
        with self.assertNumQueries(number):
            self.admin.get(self.page)

    def test_the_form_is_kept_if_the_session_has_ended(self):
        """The page of the link has a signed key, like other pages with text."""
        other = get_address(make_link(create_organization("X"), actor=self.root))
        key = read_form(self.client.get(other))["form_key"][0]
        self.assertTrue(key.startswith(f"{self.mary.pk}-"))


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class RaceTests(TransactionTestCase):
    @tag("D86")
    def test_two_admins_decide_at_once(self):
        acme = create_organization("Acme")
        admins = [create_user(name, admin_of=[acme]) for name in ("ada", "bea")]
        mary = create_user("mary")
        asked = ask(make_link(acme, actor=admins[0]), mary, REVIEWER, REASON)
        outcomes = run_together(
            lambda: attempt(lambda: approve(asked, REVIEWER, actor=admins[0])),
            lambda: attempt(lambda: decline(asked, "", actor=admins[1])),
        )
        self.assertEqual(outcomes.count("gone"), 1)
        stored = AccessRequest.objects.get()
        is_member = find_role(acme, mary) is not None
        self.assertEqual(is_member, stored.outcome == Outcome.APPROVED)

    @tag("D86")
    def test_two_clicks_make_one_request(self):
        acme = create_organization("Acme")
        token = make_link(acme, actor=create_user("ada", admin_of=[acme]))
        mary = create_user("mary")

        def click():
            return attempt(lambda: ask(token, mary, REVIEWER, REASON))

        outcomes = run_together(click, click)
        self.assertEqual(outcomes.count("gone"), 1)
        self.assertEqual(AccessRequest.objects.count(), 1)


def attempt(function):
    try:
        function()
    except (RequestGone, AlreadyAsked):
        return "gone"
    return "done"
