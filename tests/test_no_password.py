"""People who sign in with a company account and have no password."""

import re
import time

from django.conf import settings
from django.core import mail
from django.test import override_settings, tag

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts.reset_mail import list_buttons
from orgadmin.models import AuditEvent, User
from tests.identity import describe_provider
from tests.test_company import CompanyCase, create_verified_user

FORGOTTEN = "/admin/password_reset/"
CHANGE = "/admin/password_change/"
ACCOUNT = "/admin/account/"
PASSWORD = "correct horse battery"
NEW = {"new_password1": PASSWORD, "new_password2": PASSWORD}
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
ALLOWED = override_settings(ALLOW_FIRST_PASSWORD=True)


class NoPasswordCase(CompanyCase):
    def setUp(self):
        super().setUp()
        self.ada.set_unusable_password()
        self.ada.save()

    def has_password(self):
        return User.objects.get(pk=self.ada.pk).has_usable_password()


class ForgottenPasswordTests(NoPasswordCase):
    def ask(self, email="ada@example.com"):
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post(FORGOTTEN, {"email": email}, follow=True)

    @tag("D74")
    @override_settings(ACCESS_CONTACT="helpdesk@example.com")
    def test_they_read_how_they_sign_in(self):
        self.ask()
        [message] = mail.outbox
        self.assertEqual(message.to, ["Ada@example.com"])
        self.assertTrue(message.subject.startswith("How to sign in to"))
        self.assertIn("has no password", message.body)
        self.assertIn("Sign in with Example: http", message.body)
        self.assertIn("/admin/login/", message.body)
        self.assertIn("helpdesk@example.com", message.body)
        self.assertNotIn("/reset/", message.body)

    @tag("D2")
    def test_the_page_is_the_same_for_everyone(self):
        create_verified_user("bob", email="bob@example.com")
        pages = set()
        for email in ("ada@example.com", "bob@example.com", "no@example.com"):
            response = self.ask(email)
            # The token of the language switch is another one on each page.
            page = TOKEN.sub("", response.content.decode())
            pages.add((response.request["PATH_INFO"], page))
        self.assertEqual(len(pages), 1)

    def test_deactivated_people_get_nothing(self):
        User.objects.filter(pk=self.ada.pk).update(is_active=False)
        self.ask()
        self.assertEqual(mail.outbox, [])

    @override_settings(OIDC_PROVIDERS=[])
    def test_without_a_provider_they_read_whom_to_ask(self):
        self.ask()
        [message] = mail.outbox
        self.assertNotIn("Sign in with", message.body)
        self.assertIn("ask platform staff", message.body)

    def test_only_buttons_that_work_for_the_person(self):
        other = describe_provider(self.server, id="partner", name="Partner")
        [first] = settings.OIDC_PROVIDERS
        with override_settings(OIDC_PROVIDERS=[first, other]):
            self.assertEqual(list_buttons(self.ada), ["Example", "Partner"])
            self.come()
            self.assertEqual(list_buttons(self.ada), ["Example"])
            unverified = User(username="x", email="x@example.com")
            unverified.save()
            self.assertEqual(list_buttons(unverified), [])


class FirstPasswordTests(NoPasswordCase):
    def setUp(self):
        super().setUp()
        self.come()

    @tag("D74")
    def test_the_page_offers_none_unless_the_operator_allows_it(self):
        self.assertNotContains(self.client.get(ACCOUNT), "Set password")
        for response in (self.client.get(CHANGE), self.client.post(CHANGE, NEW)):
            self.assertContains(response, "You have no password here")
            self.assertNotContains(response, "new_password1")
        self.assertFalse(self.has_password())

    @ALLOWED
    @tag("D74")
    def test_they_can_set_one_if_the_operator_allows_it(self):
        self.assertContains(self.client.get(ACCOUNT), "Set password")
        page = self.client.get(CHANGE)
        self.assertNotContains(page, "old_password")
        response = self.client.post(CHANGE, NEW)
        self.assertRedirects(response, "/admin/password_change/done/")
        self.assertTrue(self.has_password())
        # The first one is from the set-up of the test.
        events = AuditEvent.objects.filter(event=SecurityEvent.PASSWORD_CHANGED)
        self.assertEqual([event.actor_key for event in events], [self.ada.pk, None])

    @ALLOWED
    @tag("D74")
    def test_not_with_an_old_sign_in(self):
        session = self.client.session
        session["signed_in"] = time.time() - 11 * 60
        session.save()
        page = self.client.post(CHANGE, NEW)
        self.assertContains(page, "Confirm it’s you")
        self.assertFalse(self.has_password())

    @ALLOWED
    @tag("D32")
    def test_a_weak_one_is_refused(self):
        weak = {"new_password1": "short", "new_password2": "short"}
        self.assertContains(self.client.post(CHANGE, weak), "errorlist")
        self.assertFalse(self.has_password())

    @ALLOWED
    def test_people_with_a_password_still_enter_the_old_one(self):
        self.ada.refresh_from_db()
        self.ada.set_password("secret")
        self.ada.save()
        self.come()
        self.assertContains(self.client.get(CHANGE), "old_password")
        self.client.post(CHANGE, NEW)
        self.ada.refresh_from_db()
        self.assertTrue(self.ada.check_password("secret"))
