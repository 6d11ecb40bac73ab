"""How people can sign in after someone else has used up their attempts."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest import mock, skipUnless

from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.db import connection
from django.test import (
    Client,
    TestCase,
    TransactionTestCase,
    override_settings,
    tag,
)
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import throttle
from orgadmin.models import AuditEvent, SignInAttempt, User
from orgadmin.models.sign_in_attempt import WINDOW, make_key
from orgadmin.people import lock_out
from tests.factories import create_superuser, create_user
from tests.test_limits import CountingHasher, count_hashes

LOGIN = "/admin/login/"
CODE = "/admin/second-factor/authenticate/"
LINK = re.compile(r"/admin/lock-out/\S+")

VALIDATE = "allauth.mfa.totp.internal.auth.validate_totp_code"


def pass_time(time):
    """Make the counted attempts older by a period of time."""
    for attempt in SignInAttempt.objects.all():
        attempt.since -= time
        attempt.save()


class LockOutCase(TestCase):
    def setUp(self):
        self.ada = create_superuser("ada", email="ada@example.com")
        mail.outbox.clear()

    def sign_in(self, client, password="secret"):
        data = {"username": "ada", "password": password}
        # The mail about a lock-out is sent after the response.
        with self.captureOnCommitCallbacks(execute=True):
            response = client.post(LOGIN, data)
        return response.status_code == 302

    def guess(self, client=None, times=throttle.LIMIT + 1):
        for _number in range(times):
            self.sign_in(client or Client(), "wrong")

    def guess_codes(self, client=None, times=throttle.LIMIT + 1):
        client = client or Client()
        self.assertTrue(self.sign_in(client))
        with (
            mock.patch(VALIDATE, return_value=False) as validate,
            self.captureOnCommitCallbacks(execute=True),
        ):
            for _number in range(times):
                client.post(CODE, {"code": "000000"})
        return validate.call_count

    def enter_code(self, client):
        with mock.patch(VALIDATE, return_value=True):
            response = client.post(CODE, {"code": "123456"})
        return response.status_code == 302

    def read_links(self):
        links = [LINK.search(message.body) for message in mail.outbox]
        return [link[0] for link in links if link]

    def use_link(self, client=None):
        """Press the button on the page of the newest link."""
        client = client or Client()
        response = client.post(self.read_links()[-1])
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
        return client


class WayInTests(LockOutCase):
    @tag("H11")
    def test_a_new_device_gets_attempts_after_wrong_passwords(self):
        self.guess()
        new_device = Client()
        self.assertFalse(self.sign_in(new_device))
        self.use_link(new_device)
        self.assertTrue(self.sign_in(new_device))

    @tag("H11")
    @override_settings(SECOND_FACTOR="optional")
    def test_a_new_device_gets_attempts_after_wrong_codes(self):
        TOTP.activate(self.ada, generate_totp_secret())
        self.guess_codes()
        new_device = Client()
        self.sign_in(new_device)
        self.assertFalse(self.enter_code(new_device))
        self.use_link(new_device)
        self.assertTrue(self.sign_in(new_device))
        self.assertTrue(self.enter_code(new_device))
        self.assertEqual(new_device.get("/admin/").status_code, 200)

    @tag("H11")
    @override_settings(SECOND_FACTOR="optional")
    def test_the_link_bypasses_neither_the_password_nor_the_second_factor(self):
        TOTP.activate(self.ada, generate_totp_secret())
        self.guess_codes()
        new_device = self.use_link()
        self.assertEqual(new_device.get("/admin/").status_code, 302)
        self.assertFalse(self.sign_in(new_device, "wrong"))
        self.assertTrue(self.sign_in(new_device))
        self.assertEqual(new_device.get("/admin/").status_code, 302)

    @tag("H11")
    def test_the_mail_says_what_has_happened_and_what_to_do(self):
        self.guess()
        [message] = mail.outbox
        self.assertIn("too many failed attempts", message.subject)
        self.assertIn("wait 15 minutes", message.body)
        self.assertIn("within two hours", message.body)
        self.assertNotIn("may be guessing your second factor", message.body)
        html, _kind = message.alternatives[0]
        self.assertIn(f'href="http://127.0.0.1:8000{self.read_links()[0]}"', html)

    @tag("H11")
    @override_settings(SECOND_FACTOR="optional")
    def test_the_mail_says_if_the_password_was_right(self):
        TOTP.activate(self.ada, generate_totp_secret())
        self.guess_codes()
        [message] = mail.outbox
        self.assertIn("may be guessing your second factor", message.body)

    @tag("H11")
    def test_it_is_recorded(self):
        self.guess()
        self.use_link()
        event = AuditEvent.objects.get(event="lock-out link used")
        self.assertEqual(event.user_key, self.ada.pk)


class LinkTests(LockOutCase):
    def setUp(self):
        super().setUp()
        self.guess()
        [self.link] = self.read_links()

    def assert_dead(self, link=None):
        for method in ("get", "post"):
            response = getattr(Client(), method)(link or self.link)
            self.assertContains(response, "This link no longer works")
            self.assertEqual(response.cookies.keys() - {"csrftoken"}, set())

    @tag("H11")
    def test_opening_it_changes_nothing(self):
        """Programs that check mail open the links in it."""
        for _time in range(2):
            response = Client().get(self.link)
            self.assertContains(response, "Try again on this device")
            self.assertEqual(response.cookies.keys() - {"csrftoken"}, set())
        self.use_link()

    @tag("H11")
    def test_it_works_once(self):
        self.use_link()
        self.assert_dead()

    @tag("H11")
    def test_it_works_once_also_if_the_mail_is_sent_twice(self):
        event = AuditEvent.objects.get(event="locked out")
        second = lock_out.make_link_path(event, self.ada, "ada@example.com")
        self.use_link()
        self.assert_dead(second)

    @tag("H11")
    def test_it_is_still_used_when_it_would_expire(self):
        self.use_link()
        pass_time(lock_out.LINK_LIFETIME - timedelta(seconds=5))
        SignInAttempt.objects.delete_expired()
        self.assert_dead()

    @tag("H11")
    def test_it_expires(self):
        later = timezone.now() + lock_out.LINK_LIFETIME
        for seconds, works in ((-5, True), (5, False)):
            at = (later + timedelta(seconds=seconds)).timestamp()
            with (
                self.subTest(seconds),
                mock.patch("django.core.signing.time.time", return_value=at),
            ):
                if works:
                    self.assertContains(Client().get(self.link), "Try again on this")
                else:
                    self.assert_dead()

    @tag("H11")
    def test_it_ends_with_what_it_was_made_for(self):
        changes = {
            "a new address": {"email": "new@example.com"},
            "a deactivated account": {"is_active": False},
            "a new password": {"password": "!"},
        }
        create_superuser("root")
        for change, values in changes.items():
            with self.subTest(change):
                mail.outbox.clear()
                SignInAttempt.objects.all().delete()
                self.guess()
                user = User.objects.get(pk=self.ada.pk)
                before = {name: getattr(user, name) for name in values}
                User.objects.filter(pk=user.pk).update(**values)
                self.assert_dead(self.read_links()[0])
                User.objects.filter(pk=user.pk).update(**before)
                self.assert_dead(self.read_links()[0])

    @tag("H11")
    def test_forged_links_do_not_work(self):
        for link in (self.link[:-2] + "x/", "/admin/lock-out/x/"):
            self.assert_dead(link)

    @tag("H11")
    def test_the_database_contains_no_link(self):
        token = self.link.split("/")[-2]
        self.use_link()
        stored = str(list(SignInAttempt.objects.values()))
        stored += str(list(AuditEvent.objects.values()))
        self.assertNotIn(token, stored)


class BoundTests(LockOutCase):
    """Guessing is limited, even for someone who can read a person's emails."""

    @tag("H11")
    def test_links_give_no_new_guesses_of_passwords(self):
        with count_hashes():
            guesses = []
            for _link in range(3):
                self.forget_lock_out()
                self.guess()
                thief = self.use_link()
                CountingHasher.hashed = 0
                self.guess(thief, times=throttle.LIMIT + 5)
                guesses.append(CountingHasher.hashed)
        self.assertEqual(guesses, [throttle.LIMIT, 0, 0])

    def forget_lock_out(self):
        """Make the next lock-out send an email again, before the attempts expire."""
        mail.outbox.clear()
        for kind in ("lock-out link", "lock-out"):
            key = make_key(kind, str(self.ada.pk))
            SignInAttempt.objects.filter(key=key).delete()

    @tag("H11")
    @override_settings(SECOND_FACTOR="optional")
    def test_links_give_no_new_guesses_of_codes(self):
        TOTP.activate(self.ada, generate_totp_secret())
        guesses = []
        for _link in range(3):
            self.forget_lock_out()
            self.guess_codes()
            guesses.append(self.guess_codes(self.use_link()))
        self.assertEqual(guesses, [throttle.LIMIT, 0, 0])

    @tag("H11")
    def test_a_link_gives_attempts_to_one_account_on_one_device(self):
        create_superuser("eve", email="eve@example.com")
        self.guess()
        device = self.use_link()
        for _number in range(throttle.LIMIT + 1):
            data = {"username": "eve", "password": "wrong"}
            device.post(LOGIN, data)
        eve = {"username": "eve", "password": "secret"}
        self.assertEqual(device.post(LOGIN, eve).status_code, 200)
        self.assertFalse(self.sign_in(Client()))
        self.assertTrue(self.sign_in(device))


class MailTests(LockOutCase):
    @tag("H11")
    def test_is_sent_once_an_hour_for_as_long_as_someone_goes_on(self):
        """While someone keeps guessing, there is always a link that works."""
        sent = []
        for _quarter in range(12):
            self.guess()
            sent.append(len(mail.outbox))
            mail.outbox.clear()
            pass_time(WINDOW)
        self.assertEqual(sent, [1, 0, 0, 0] * 3)

    @tag("H11")
    def test_mail_without_a_link_does_not_put_off_the_one_with_a_link(self):
        for kind, has_link in (("step-up", False), ("sign-in", True)):
            with self.captureOnCommitCallbacks(execute=True):
                record(SecurityEvent.LOCKED_OUT, user=self.ada, details={"kind": kind})
            self.assertEqual(bool(LINK.search(mail.outbox[-1].body)), has_link, kind)
        self.assertEqual(len(mail.outbox), 2)

    @tag("H11")
    def test_passwords_of_people_without_one_do_not_put_off_the_link_for_codes(self):
        self.ada.set_unusable_password()
        self.ada.save()
        for kind, has_link in (("sign-in", False), ("code", True)):
            mail.outbox.clear()
            with self.captureOnCommitCallbacks(execute=True):
                record(SecurityEvent.LOCKED_OUT, user=self.ada, details={"kind": kind})
            [message] = [row for row in mail.outbox if "failed attempts" in row.subject]
            self.assertEqual(bool(LINK.search(message.body)), has_link, kind)

    @tag("H11")
    def test_only_those_get_a_link_who_can_use_it(self):
        rows = [
            # (the account, kind of attempts, whether there is a link)
            ({}, "sign-in", True),
            ({}, "code", True),
            ({}, "password", False),
            ({}, "step-up", False),
            ({}, "reset", False),
            ({"password": "!"}, "sign-in", False),
            # People who sign in with a company account enter codes here, too.
            ({"password": "!"}, "code", True),
            ({"is_active": False}, "sign-in", False),
        ]
        for number, (values, kind, has_link) in enumerate(rows):
            with self.subTest(values=values, kind=kind):
                user = create_user(f"user{number}", email=f"{number}@example.com")
                for name, value in values.items():
                    setattr(user, name, value)
                user.save()
                event = AuditEvent(
                    event="locked out", user_key=user.pk, details={"kind": kind}, pk=7
                )
                path = lock_out.make_link_path(event, user, user.email)
                self.assertEqual(bool(path), has_link)

    @tag("H11")
    def test_the_link_goes_to_the_present_address_only(self):
        event = AuditEvent(
            event="locked out",
            user_key=self.ada.pk,
            details={"kind": "sign-in"},
            pk=7,
        )
        self.assertTrue(lock_out.make_link_path(event, self.ada, "ada@example.com"))
        self.assertEqual(
            lock_out.make_link_path(event, self.ada, "old@example.com"), ""
        )
        eve = create_user("eve", email="ada2@example.com")
        self.assertEqual(lock_out.make_link_path(event, eve, "ada2@example.com"), "")


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class TogetherTests(TransactionTestCase):
    @tag("H11")
    def test_a_link_works_once_for_requests_at_the_same_time(self):
        ada = create_superuser("ada", email="ada@example.com")
        for number in range(5):
            event = AuditEvent(
                event="locked out",
                user_key=ada.pk,
                details={"kind": "sign-in"},
                pk=number,
            )
            link = lock_out.make_link_path(event, ada, ada.email)
            with ThreadPoolExecutor(4) as pool:
                statuses = sorted(pool.map(self.use, [link] * 4))
            self.assertEqual(statuses, [200, 200, 200, 302])

    def use(self, link):
        try:
            return Client().post(link).status_code
        finally:
            connection.close()
