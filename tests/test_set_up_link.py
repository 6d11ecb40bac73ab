"""The link from an email that opens the page to set up a second factor."""

import re
import time
from unittest import mock

from allauth.mfa.models import Authenticator
from django.core import mail
from django.test import Client, override_settings, tag
from django_tasks_db.models import DBTaskResult

from orgadmin.accounts import throttle
from orgadmin.accounts.set_up_link import NONCE, mask_address, open_page
from orgadmin.models import AuditEvent, User
from orgadmin.people.link_tokens import make_link_token
from tests.factories import (
    create_organization,
    create_superuser,
    create_user,
    refresh_sign_in,
)
from tests.mailing import fail_to_send, queues_mail, read_link, work, work_later
from tests.test_sign_in import (
    LOGIN,
    SECOND_FACTOR,
    SET_UP,
    SignInCase,
    make_code,
)

ASK = f"{SECOND_FACTOR}set-up/"
DEAD = "This link no longer works"


@override_settings(SECOND_FACTOR="staff")
class SetUpLinkTests(SignInCase):
    def setUp(self):
        self.root = create_superuser("root", email="root@example.com")
        self.sign_in("root")

    def ask_for_link(self, client=None):
        """Request a link, and return its path."""
        mail.outbox.clear()
        (client or self.client).post(ASK)
        [message] = mail.outbox
        self.assertEqual(message.to, ["root@example.com"])
        return read_link()

    def assert_closed(self, client=None):
        client = client or self.client
        self.assertRedirects(client.get(SET_UP), ASK)
        response = client.post(SET_UP, {"code": make_code("JBSWY3DPEHPK3PXP")})
        self.assertRedirects(response, ASK)
        self.assertFalse(Authenticator.objects.exists())

    @tag("D34")
    def test_the_password_alone_does_not_set_up_a_required_factor(self):
        self.assertRedirects(self.client.get("/admin/", follow=True), ASK)
        self.assert_closed()

    @tag("D34")
    def test_the_link_opens_the_page_and_verifies_the_address(self):
        self.assertRedirects(self.client.get(self.ask_for_link()), SET_UP)
        self.set_up(open_first=False)
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        user = User.objects.get()
        self.assertTrue(user.has_verified_email)
        event = AuditEvent.objects.get(event="email verified")
        self.assertEqual(event.actor_key, user.pk)

    @tag("D35")
    def test_the_session_keeps_no_readable_secret_until_the_app_is_set_up(self):
        self.open_set_up()
        page = self.client.get(SET_UP).content.decode()
        secret = re.search(r"<code>([A-Z2-7]+)</code>", page)[1]
        self.assertNotIn(secret, str(dict(self.client.session)))
        response = self.client.post(SET_UP, {"code": "000000"})
        self.assertContains(response, secret)
        self.assertNotIn(secret, str(dict(self.client.session)))
        self.client.post(SET_UP, {"code": make_code(secret)})
        self.assertTrue(Authenticator.objects.exists())
        self.assertNotIn("mfa.totp.secret", self.client.session)

    @tag("D34")
    def test_it_works_once_and_only_in_the_session_that_asked_for_it(self):
        link = self.ask_for_link()
        thief = Client()
        thief.post(LOGIN, {"username": "root", "password": "secret"})
        self.assertContains(thief.get(link, follow=True), DEAD)
        self.assert_closed(thief)
        visitor = Client()
        self.assertIn(LOGIN, visitor.get(link)["Location"])
        self.client.get(link)
        self.assertContains(self.client.get(link, follow=True), DEAD)

    @tag("D34")
    def test_only_the_last_link_works(self):
        first = self.ask_for_link()
        second = self.ask_for_link()
        self.assertContains(self.client.get(first, follow=True), DEAD)
        self.assertRedirects(self.client.get(second), SET_UP)

    @tag("D34")
    def test_it_expires_after_an_hour_and_the_page_after_half_an_hour(self):
        link = self.ask_for_link()
        now = time.time()
        with mock.patch("django.core.signing.time.time", return_value=now + 3601):
            refresh_sign_in(self.client)
            self.assertContains(self.client.get(link, follow=True), DEAD)
        self.assert_closed()
        link = self.ask_for_link()
        self.assertRedirects(self.client.get(link), SET_UP)
        clock = "orgadmin.accounts.set_up_link.time.time"
        with mock.patch(clock, return_value=time.time() + 1801):
            refresh_sign_in(self.client)
            self.assertRedirects(self.client.get(SET_UP), ASK)

    @tag("D34")
    def test_a_link_of_another_account_purpose_or_address_is_dead(self):
        other = create_superuser("other", email="other@example.com")
        self.ask_for_link()
        nonce = self.client.session["set_up_nonce"]
        purpose = "set up second factor"
        outdated = User.objects.get(pk=self.root.pk)
        outdated.email = "old@example.com"
        tokens = [
            make_link_token(other, purpose, nonce),
            make_link_token(self.root, "confirm email", nonce),
            make_link_token(self.root, purpose, "x"),
            make_link_token(self.root, purpose),
            make_link_token(outdated, purpose, nonce),
        ]
        for token in tokens:
            response = self.client.get(f"{ASK}{token}/", follow=True)
            self.assertContains(response, DEAD)
            self.assert_closed()

    @tag("D34")
    def test_without_an_address_a_superuser_is_to_be_asked(self):
        create_user("staff", is_staff=True)
        self.client.post("/admin/logout/")
        self.sign_in("staff")
        self.assertContains(self.client.get(ASK), "Ask a superuser to add it")
        self.client.post(ASK)
        self.assertEqual(mail.outbox, [])
        self.assert_closed()

    @tag("D34")
    def test_ten_emails_are_sent_at_most(self):
        for _number in range(10):
            self.client.post(ASK)
        self.assertContains(self.client.post(ASK, follow=True), "Too many emails")
        self.assertEqual(len(mail.outbox), 10)

    @tag("H2")
    def test_strangers_do_not_use_up_the_emails(self):
        for _number in range(throttle.LIMIT + 1):
            Client().post("/admin/password_reset/", {"email": "root@example.com"})
        self.assertIn(SET_UP.removesuffix("totp/activate/"), self.ask_for_link())

    @override_settings(SECOND_FACTOR="optional")
    @tag("D34")
    def test_an_optional_factor_needs_the_link_too(self):
        create_user("ada", email="ada@x.de", admin_of=[create_organization()])
        self.client.post("/admin/logout/")
        self.sign_in("ada")
        self.assert_closed()

    @queues_mail()
    def test_the_page_does_not_wait_for_the_mail_server(self):
        response = self.client.post(ASK, follow=True)
        self.assertContains(response, "The link is on its way to you.")
        with fail_to_send():
            work()
        work_later()
        self.assertEqual(mail.outbox[0].to, ["root@example.com"])

    @tag("J2")
    @queues_mail()
    def test_the_outbox_has_nothing_that_opens_the_page(self):
        self.client.post(ASK)
        nonce = self.client.session[NONCE]
        stored = DBTaskResult.objects.get()
        self.assertNotIn(nonce, str(stored.args_kwargs))

    def test_the_page_shows_only_a_part_of_the_address(self):
        self.assertContains(self.client.get(ASK), "r…@example.com")
        self.assertNotContains(self.client.get(ASK), "root@example.com")
        self.assertEqual(mask_address(""), "")

    def test_signing_out_closes_the_page(self):
        session = self.client.session
        open_page(session)
        session.save()
        self.assertEqual(self.client.get(SET_UP).status_code, 200)
        self.client.post("/admin/logout/")
        self.sign_in("root")
        self.assert_closed()
