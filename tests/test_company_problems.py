"""What people read if they could not sign in with a company account."""

from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client, override_settings, tag

from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.models import User
from orgadmin.people.invitations import invite
from tests.factories import create_user
from tests.identity import Answer
from tests.runner import KEY_CHARACTERS
from tests.test_company import CALLBACK, SIGN_IN, CompanyCase, create_verified_user
from tests.test_round_trips import WANTED
from tests.test_sign_in import LOGIN

SEND = "/admin/oidc/company/send-invitation/"
ANOTHER = "Use another account"
CONTACT = "helpdesk@example.com"
PAGE = f"{LOGIN}?next={WANTED}"
# That of a form from before, which belongs to no cookie
TOKEN = KEY_CHARACTERS[0] * 64


@override_settings(ACCESS_CONTACT=CONTACT)
class ProblemCase(CompanyCase):
    def fail(self, query=None, **claims):
        """Try to sign in, and return the page that people see then."""
        url = self.client.get(
            self.client.post(SIGN_IN, {"next": WANTED})["Location"]
        ).context["onward_url"]
        answer = self.visit(url, **claims)
        return self.client.get(CALLBACK, query or answer, follow=True)

    def invite(self, email):
        role = ROLES_BY_KEY["reviewer"]
        return invite(self.acme, email, role, actor=self.ada)


class TextTests(ProblemCase):
    def test_every_page_keeps_the_wanted_page_and_names_the_contact(self):
        self.invite("invited@example.com")
        cases = [
            ({"email": "new@example.com"}, "as new@example.com", True),
            ({"email": "invited@example.com"}, "You have an invitation", True),
            ({"email": None}, "has no email address", True),
            ({"email_verified": False}, "does not confirm", True),
            ({"sub": ""}, "is not set up correctly", False),
        ]
        for claims, text, offers_another in cases:
            with self.subTest(claims):
                page = self.fail(**claims)
                self.assertRedirects(page, PAGE)
                self.assertContains(page, text)
                self.assertContains(page, CONTACT)
                self.assertEqual(ANOTHER in page.content.decode(), offers_another)

    def test_people_who_cancel_can_use_another_account(self):
        url = self.client.post(SIGN_IN, {"next": WANTED})["Location"]
        state = url.split("/")[-2]
        canceled = {"error": "access_denied", "state": state}
        page = self.client.get(CALLBACK, canceled, follow=True)
        self.assertRedirects(page, PAGE)
        self.assertContains(page, "you canceled")
        self.assertContains(page, ANOTHER)
        self.assertNotContains(page, "errornote")

    def test_a_provider_that_does_not_respond(self):
        self.server.answers = {"/.well-known/openid-configuration": Answer("", 503)}
        page = self.client.post(SIGN_IN, {"next": WANTED}, follow=True)
        self.assertRedirects(page, PAGE)
        self.assertContains(page, "did not respond")
        self.assertNotContains(page, ANOTHER)

    def test_a_problem_is_shown_once(self):
        self.assertContains(self.fail(email="new@example.com"), "new@example.com")
        self.assertNotContains(self.client.get(LOGIN), "new@example.com")

    def test_a_problem_ends_with_the_next_sign_in(self):
        self.fail(email="new@example.com")
        self.come()
        self.assertNotIn("company_problem", self.client.session)


class StrangerTests(ProblemCase):
    """The texts do not reveal what this site knows about people."""

    @tag("D22", "D71")
    def test_accounts_of_others_and_missing_ones_are_alike(self):
        create_user("unverified", email="one@example.com")
        create_verified_user("gone", email="two@example.com", is_active=False)
        linked = create_verified_user("linked", email="three@example.com")
        linked.socialaccount_set.create(
            provider="company", uid="x", extra_data={"server": self.server.address}
        )
        self.assert_alike("one@example.com", "two@example.com", "three@example.com")

    @tag("D22", "D71")
    def test_so_are_those_with_an_invitation(self):
        create_verified_user("gone", email="two@example.com", is_active=False)
        for email in ("one@example.com", "two@example.com"):
            self.invite(email)
        self.assert_alike("two@example.com", missing="one@example.com")

    def assert_alike(self, *emails, missing="nobody@example.com"):
        texts = set()
        for email in (*emails, missing):
            problem = self.fail(email=email, sub=email).context["problem"]
            texts.add(problem.text.replace(email, "EMAIL"))
        self.assertEqual(len(texts), 1)

    @tag("D71")
    def test_an_invitation_is_only_shown_to_an_address_that_is_verified(self):
        self.invite("invited@example.com")
        page = self.fail(email="invited@example.com", email_verified=False)
        self.assertNotContains(page, "invitation")
        self.client.post(SEND)
        self.assertEqual(mail.outbox, [])


class InvitationTests(ProblemCase):
    def send(self):
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post(SEND, {"next": WANTED}, follow=True)

    def test_the_link_is_sent_again_to_the_address_at_the_provider(self):
        self.invite("invited@example.com")
        self.fail(email="invited@example.com")
        page = self.send()
        self.assertRedirects(page, PAGE)
        self.assertContains(page, "on its way to “invited@example.com”")
        [message] = mail.outbox
        self.assertEqual(message.to, ["invited@example.com"])

    def test_the_response_is_the_same_if_the_invitation_is_gone(self):
        invitation = self.invite("invited@example.com")
        self.fail(email="invited@example.com")
        invitation.delete()
        self.assertContains(self.send(), "on its way to “invited@example.com”")
        self.assertEqual(mail.outbox, [])

    def test_ten_times_in_15_minutes(self):
        self.invite("invited@example.com")
        self.fail(email="invited@example.com")
        for _number in range(12):
            self.send()
        self.assertEqual(len(mail.outbox), 10)

    @tag("D71")
    def test_nobody_else_can_have_it_sent(self):
        self.invite("invited@example.com")
        for client in (Client(), self.client):
            self.assertRedirects(client.post(SEND), LOGIN)
            self.assertEqual(client.get(SEND).status_code, 405)
        self.assertEqual(mail.outbox, [])


class SignedInTests(ProblemCase):
    """People who are already signed in stay signed in, and on their page."""

    def setUp(self):
        super().setUp()
        self.come()

    def test_who_cancels_gets_to_the_wanted_page(self):
        url = self.client.post(SIGN_IN, {"next": WANTED})["Location"]
        canceled = {"error": "access_denied", "state": url.split("/")[-2]}
        page = self.client.get(CALLBACK, canceled, follow=True)
        self.assertRedirects(page, WANTED)
        self.assertContains(page, "you canceled")
        self.assertTrue(self.is_signed_in())

    def test_the_response_of_before_leads_home(self):
        page = self.client.get(CALLBACK, {"state": "x", "code": "x"}, follow=True)
        self.assertRedirects(page, "/admin/")
        self.assertNotContains(page, "Sign-in failed")

    def test_the_same_response_again_leads_to_where_they_went(self):
        self.client.logout()
        departure = self.client.post(SIGN_IN, {"next": WANTED})["Location"]
        url = self.client.get(departure).context["onward_url"]
        answer = self.visit(url)
        for _time in range(2):
            self.assertRedirects(self.client.get(CALLBACK, answer), WANTED)

    def test_another_tab_gets_to_its_page(self):
        self.client.logout()
        departure = self.client.post(SIGN_IN, {"next": WANTED})["Location"]
        url = self.client.get(departure).context["onward_url"]
        self.come()
        self.assertRedirects(self.client.get(CALLBACK, self.visit(url)), WANTED)

    def test_a_provider_that_is_down_leaves_them_signed_in(self):
        self.server.answers = {"/.well-known/openid-configuration": Answer("", 503)}
        page = self.client.post(SIGN_IN, {"next": WANTED}, follow=True)
        self.assertRedirects(page, WANTED)
        self.assertContains(page, "did not respond")


class NoSessionTests(ProblemCase):
    """A browser that this site has never seen, or that blocks cookies."""

    @tag("D61")
    def test_is_told_to_sign_in_again_and_stores_nothing(self):
        for data in ({}, {"state": "x"}, {"state": "x", "error": "access_denied"}):
            with self.subTest(data):
                page = Client().get(CALLBACK, data, follow=True)
                self.assertEqual(page.status_code, 200)
                self.assertContains(page, "Sign-in failed because")
        self.assertFalse(Session.objects.exists())

    def test_the_sign_in_page_shows_nothing_about_a_provider_that_does_not_exist(self):
        page = Client().get(LOGIN, {"again": "other"})
        self.assertNotContains(page, "company-problem")


class OldFormTests(ProblemCase):
    """A sign-in page that was open in another tab in the meantime."""

    headers = {"Origin": "http://testserver"}

    def setUp(self):
        super().setUp()
        self.client = Client(enforce_csrf_checks=True, headers=self.headers)
        self.client.get(LOGIN)
        self.token = self.client.cookies["csrftoken"].value

    def test_its_buttons_lead_people_on_who_are_signed_in(self):
        self.client.force_login(self.ada)
        data = {"csrfmiddlewaretoken": TOKEN, "next": WANTED}
        for page in (LOGIN, SIGN_IN):
            response = self.client.post(page, data, follow=True)
            self.assertRedirects(response, WANTED)

    def test_its_buttons_lead_others_to_a_new_page(self):
        data = {"csrfmiddlewaretoken": TOKEN, "next": WANTED}
        for page in (LOGIN, SIGN_IN):
            response = self.client.post(page, data, follow=True)
            self.assertRedirects(response, PAGE)
            self.assertContains(response, "was open for too long")

    @tag("D8")
    def test_a_form_of_another_site_is_refused(self):
        self.client.force_login(self.ada)
        data = {"csrfmiddlewaretoken": TOKEN, "next": WANTED}
        for page in (LOGIN, SIGN_IN):
            response = self.client.post(page, data, headers={"Origin": "https://x.y"})
            self.assertEqual(response.status_code, 403)
        self.assertEqual(User.objects.count(), 1)
