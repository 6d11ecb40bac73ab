"""Limits on guessing passwords and codes, and on how much people can make us do."""

import ast
import re
import threading
from datetime import timedelta
from pathlib import Path
from unittest import mock

from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.base.forms import BaseAuthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.utils import get_form_class
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format

from orgadmin.accounts import (
    devices,
    hashing,
    passwords,
    throttle,
    urls as accounts_urls,
)
from orgadmin.accounts.second_factor.forms import LimitedCodeMixin
from orgadmin.accounts.tokens import make_reset_path
from orgadmin.models import AuditEvent, Organization, SignInAttempt, User
from orgadmin.models.sign_in_attempt import WINDOW
from orgadmin.models.user import UncountedAttempt
from orgadmin.people import invitations
from orgadmin.people.message import escape_for_mail
from orgadmin.records import batches, history
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.mailing import send_invitation

LOGIN = "/admin/login/"
CHANGE = "/admin/password_change/"
PROJECT = Path(__file__).parents[1]

NEW_PASSWORD = "correct horse battery"
# Functions that compare a password, in Django and in django-allauth.
COMPARING = {
    "authenticate",
    "aauthenticate",
    "reauthenticate",
    "check_password",
    "acheck_password",
    "verify_password",
}
OFFICE = "192.0.2.1"
ELSEWHERE = "198.51.100.7"


class CountingHasher(MD5PasswordHasher):
    """Counts how many passwords are hashed, right, wrong, and for unknown names."""

    hashed = 0

    def encode(self, password, salt, iterations=None):
        CountingHasher.hashed += 1
        return super().encode(password, salt)


def count_hashes():
    CountingHasher.hashed = 0
    return override_settings(PASSWORD_HASHERS=["tests.test_limits.CountingHasher"])


def find_calls(path):
    """Return the names of the functions that a file calls."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            names.add(getattr(function, "attr", getattr(function, "id", "")))
    return names


class GuessingCase(TestCase):
    def setUp(self):
        self.ada = create_superuser("ada", email="ada@example.com")

    def sign_in(self, client=None, password="secret", username="ada", **extra):
        """Try to sign in, and return whether that worked."""
        client = client or self.client
        data = {"username": username, "password": password}
        response = client.post(LOGIN, data, **extra)
        return response.status_code == 302

    def guess(self, times=throttle.LIMIT, client=None, **extra):
        for number in range(times):
            self.sign_in(client or Client(), f"wrong {number}", **extra)


class EveryCheckCountsTests(GuessingCase):
    """Every place that checks a password or a code counts attempts before it does."""

    @tag("H1")
    def test_only_one_module_compares_passwords(self):
        paths = [*PROJECT.glob("orgadmin/**/*.py"), *PROJECT.glob("config/**/*.py")]
        # User.check_password calls Django's, after it has made sure of the limit.
        allowed = {"orgadmin/accounts/passwords.py", "orgadmin/models/user.py"}
        comparing = {
            str(path.relative_to(PROJECT))
            for path in paths
            if find_calls(path) & COMPARING
        }
        self.assertEqual(comparing, allowed)

    @tag("H1")
    def test_a_page_that_compares_without_counting_fails(self):
        # As if django-allauth, Django or a new page did.
        with (
            mock.patch.object(throttle, "_count", return_value=None),
            self.assertRaises(UncountedAttempt),
        ):
            self.sign_in()

    @tag("H1")
    def test_all_forms_that_ask_for_a_code_limit_guesses(self):
        forms = {
            "authenticate": BaseAuthenticateForm,
            "activate_totp": ActivateTOTPForm,
        }
        for name, default in forms.items():
            form = get_form_class(mfa_settings.FORMS, name, default)
            self.assertTrue(issubclass(form, LimitedCodeMixin), name)
        # django-allauth's page that asks once more would use a form without limits.
        with self.assertRaises(NoReverseMatch):
            reverse("mfa_reauthenticate")

    def change_password(self, old_password):
        data = {
            "old_password": old_password,
            "new_password1": NEW_PASSWORD,
            "new_password2": NEW_PASSWORD,
        }
        return self.client.post(CHANGE, data)

    @tag("H1")
    def test_the_old_password_cannot_be_guessed(self):
        self.client.force_login(self.ada)
        for number in range(throttle.LIMIT):
            wrong = self.change_password(f"wrong {number}")
        with count_hashes():
            right = self.change_password("secret")
            self.assertEqual(CountingHasher.hashed, 0)
        self.assertEqual(
            wrong.context["form"].errors.as_json(),
            right.context["form"].errors.as_json(),
        )
        SignInAttempt.objects.update(since=timezone.now() - WINDOW)
        self.assertEqual(self.change_password("secret").status_code, 302)

    @tag("H1")
    def test_the_right_old_password_makes_all_attempts_available_again(self):
        self.client.force_login(self.ada)
        for password in ("wrong", "secret"):
            self.change_password(password)
        self.assertFalse(SignInAttempt.objects.exists())

    @tag("H1")
    def test_a_link_to_reset_a_password_does_not_hash_without_limit(self):
        page = self.client.get(make_reset_path(self.ada))["Location"]
        for _number in range(throttle.LIMIT):
            self.client.post(page, {"new_password1": "x", "new_password2": "y"})
        new = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
        self.assertContains(self.client.post(page, new), "tried too often")
        self.assertTrue(User.objects.get().check_password("secret"))

    @tag("H1")
    def test_a_long_text_is_not_hashed(self):
        with count_hashes():
            self.assertFalse(self.sign_in(password="x" * 1_001))
            self.assertEqual(CountingHasher.hashed, 0)

    @tag("H1")
    def test_new_passwords_are_not_longer_than_those_that_are_checked(self):
        self.client.force_login(self.ada)
        long = "long " * 200 + "!"
        data = {"old_password": "secret", "new_password1": long, "new_password2": long}
        response = self.client.post(CHANGE, data)
        self.assertContains(response, "too long. Use at most 1000 characters")

    @tag("H1")
    def test_unknown_names_are_hashed_and_counted_like_others(self):
        for username in ("ada", "nobody"):
            with self.subTest(username), count_hashes():
                for _number in range(throttle.LIMIT):
                    self.sign_in(password="wrong", username=username)
                self.assertEqual(CountingHasher.hashed, throttle.LIMIT)
                self.sign_in(username=username)
                self.assertEqual(CountingHasher.hashed, throttle.LIMIT)

    @tag("D2")
    def test_the_right_password_of_an_inactive_account_counts_like_a_wrong_one(self):
        create_user("outsider", is_active=False)
        for password in ("secret", "wrong"):
            SignInAttempt.objects.all().delete()
            with self.subTest(password), count_hashes():
                for _number in range(throttle.LIMIT + 2):
                    self.sign_in(username="outsider", password=password)
                self.assertEqual(CountingHasher.hashed, throttle.LIMIT)

    @tag("H1")
    def test_all_names_of_an_account_have_the_same_attempts(self):
        for name in ("ada", "ADA", "ada@example.com", "Ａｄａ@EXAMPLE.com"):
            self.guess(throttle.LIMIT // 4, username=name)
        self.guess(throttle.LIMIT - throttle.LIMIT // 4 * 4)
        for name in ("ada", "ada@example.com"):
            self.assertFalse(self.sign_in(username=name))
        self.assertTrue(self.sign_in(REMOTE_ADDR=ELSEWHERE))

    @tag("H1")
    def test_no_password_is_compared_once_the_attempts_of_the_account_are_used_up(self):
        self.guess(username="ada")
        with mock.patch.object(User, "check_password") as check:
            self.assertFalse(self.sign_in(username="ada@example.com"))
        check.assert_not_called()

    @tag("A39", "D2")
    def test_attempts_for_a_username_do_not_show_which_address_belongs_to_it(self):
        """After those of the username, the address is answered like an unknown one."""
        self.guess(throttle.LIMIT + 1, username="ada")
        works = [
            self.describe_work(username)
            for username in ("ada@example.com", "nobody@example.com")
        ]
        self.assertEqual(*works)

    def describe_work(self, username):
        """Return what the site does when a password is wrong: what takes its time."""
        # What the site prepares for the first request only is prepared.
        self.sign_in(Client(), "wrong", "warm-up", REMOTE_ADDR=OFFICE)
        with count_hashes(), CaptureQueriesContext(connection) as queries:
            self.sign_in(Client(), "wrong", username)
            return CountingHasher.hashed, len(queries)

    @tag("A39", "D2")
    def test_whoever_cannot_sign_in_gets_an_answer_after_the_same_work(self):
        create_user("inactive", email="inactive@example.com", is_active=False)
        User.objects.create_user("company", email="company@example.com")
        works = {}
        for name in ("ada", "inactive", "company", "nobody"):
            for username in (name, f"{name}@example.com"):
                works[username] = self.describe_work(username)
        hashes, _queries = works["ada"]
        self.assertEqual(hashes, 1)
        self.assertEqual(set(works.values()), {works["ada"]}, works)

    @tag("H1")
    def test_a_lock_out_is_recorded_once(self):
        for username in ("ada", "nobody"):
            self.guess(throttle.LIMIT + 3, username=username)
            self.guess(throttle.LIMIT + 3, username=username, REMOTE_ADDR=ELSEWHERE)
        events = AuditEvent.objects.filter(event="locked out").order_by("pk")
        self.assertEqual(
            list(events.values_list("user_key", "user_name")),
            [(self.ada.pk, "ada"), (None, "")],
        )
        SignInAttempt.objects.update(since=timezone.now() - WINDOW)
        self.guess(throttle.LIMIT + 1)
        self.assertEqual(events.count(), 3)

    @tag("D31", "H1")
    def test_a_lock_out_stores_nothing_of_what_was_typed_as_a_name(self):
        password = "my quite secret passphrase"
        with (
            self.assertLogs("orgadmin.audit") as logs,
            self.captureOnCommitCallbacks(execute=True),
        ):
            self.guess(throttle.LIMIT + 1, username=password)
            self.guess(throttle.LIMIT + 1, username="x\n5,abc\u2028" + "y" * 100)
        self.assertEqual(AuditEvent.objects.filter(event="locked out").count(), 2)
        for event in AuditEvent.objects.filter(user_key=None):
            self.assertEqual(event.user_name, "")
            self.assertEqual(event.personal, {})
            self.assertEqual(set(event.details) - {"kind", "step"}, set())
        self.assertNotIn(password, str([vars(line) for line in logs.records]))

    @tag("H1")
    def test_the_response_does_not_wait_for_the_email_about_a_lock_out(self):
        self.guess()
        events = AuditEvent.objects.filter(event="locked out")
        # The server closes a response when it has sent it.
        with mock.patch.object(HttpResponseBase, "close") as close:
            self.sign_in(Client())
            self.assertFalse(events.exists())
        response = self.client.post(LOGIN, {"username": "nobody", "password": "x"})
        self.assertTrue(close.called)
        self.assertFalse(events.exists())
        self.guess(throttle.LIMIT + 1, username="nobody")
        self.assertIsNone(events.get().user_key)
        self.assertEqual(response.status_code, 200)


class DeviceTests(GuessingCase):
    """Nobody can lock a person out of a device that they use."""

    def setUp(self):
        super().setUp()
        self.assertTrue(self.sign_in(REMOTE_ADDR=OFFICE))
        self.client.post("/admin/logout/")

    @tag("H2")
    def test_a_colleague_at_the_same_address_cannot_lock_a_person_out(self):
        self.guess(REMOTE_ADDR=OFFICE)
        self.assertFalse(self.sign_in(Client(), REMOTE_ADDR=OFFICE))
        self.assertTrue(self.sign_in(REMOTE_ADDR=OFFICE))

    @tag("H2")
    def test_strangers_at_many_addresses_cannot_lock_a_person_out(self):
        for number in range(throttle.USERNAME_LIMIT // throttle.LIMIT + 1):
            self.guess(REMOTE_ADDR=f"203.0.113.{number}")
        self.assertFalse(self.sign_in(Client(), REMOTE_ADDR=ELSEWHERE))
        self.assertTrue(self.sign_in(REMOTE_ADDR=ELSEWHERE))

    @tag("H2")
    def test_guesses_on_a_known_device_are_limited_at_all_addresses_together(self):
        for number in range(throttle.LIMIT):
            self.sign_in(password="wrong", REMOTE_ADDR=f"203.0.113.{number}")
        self.assertFalse(self.sign_in(REMOTE_ADDR=ELSEWHERE))

    @tag("H2")
    def test_one_address_tries_a_limited_number_of_guesses_on_all_names(self):
        with count_hashes():
            for number in range(throttle.ADDRESS_LIMIT + 5):
                self.guess(1, username=f"user {number}", REMOTE_ADDR=ELSEWHERE)
            self.assertEqual(CountingHasher.hashed, throttle.ADDRESS_LIMIT)
        self.assertFalse(self.sign_in(Client(), REMOTE_ADDR=ELSEWHERE))
        self.assertTrue(self.sign_in(Client(), REMOTE_ADDR=OFFICE))

    @tag("H2")
    def test_guessing_one_password_does_not_lock_out_others_at_the_address(self):
        create_superuser("eve")
        self.guess(throttle.ADDRESS_LIMIT * 2, REMOTE_ADDR=ELSEWHERE)
        self.assertTrue(self.sign_in(Client(), username="eve", REMOTE_ADDR=ELSEWHERE))

    @tag("H2")
    def test_people_who_sign_in_do_not_use_up_the_guesses_of_an_address(self):
        for _number in range(throttle.ADDRESS_LIMIT + 5):
            self.assertTrue(self.sign_in(Client(), REMOTE_ADDR=ELSEWHERE))

    @tag("H2")
    def test_the_cookie_of_another_account_does_not_count(self):
        create_superuser("eve")
        eve = Client()
        self.sign_in(eve, username="eve")
        [value] = [
            cookie.value for name, cookie in eve.cookies.items() if "device" in name
        ]
        eve.cookies[devices.name_cookie(self.ada)] = value
        self.guess(client=eve)
        self.assertFalse(self.sign_in(Client()))

    @tag("H2")
    def test_the_cookie_ends_when_the_sessions_of_the_person_end(self):
        self.ada.refresh_from_db()
        self.ada.end_sessions()
        self.guess(REMOTE_ADDR=OFFICE)
        self.assertFalse(self.sign_in(REMOTE_ADDR=OFFICE))

    @tag("H2")
    def test_the_cookie_reveals_nothing_and_is_kept_from_scripts_and_other_sites(self):
        create_superuser("a-long-name")
        with override_settings(SESSION_COOKIE_SECURE=True):
            self.sign_in(username="a-long-name")
        [cookie] = [
            cookie
            for name, cookie in self.client.cookies.items()
            if name.startswith("__Host-device-")
        ]
        self.assertNotIn("a-long-name", cookie.OutputString())
        self.assertTrue(cookie["secure"] and cookie["httponly"])
        self.assertEqual((cookie["path"], cookie["domain"]), ("/", ""))
        self.assertEqual(cookie["samesite"], "Lax")

    @tag("H2")
    def test_a_changed_password_keeps_the_device_on_which_it_was_changed(self):
        self.client.force_login(self.ada)
        data = {
            "old_password": "secret",
            "new_password1": NEW_PASSWORD,
            "new_password2": NEW_PASSWORD,
        }
        self.client.post(CHANGE, data)
        self.client.post("/admin/logout/")
        self.guess(REMOTE_ADDR=OFFICE)
        self.assertTrue(self.sign_in(password=NEW_PASSWORD, REMOTE_ADDR=OFFICE))

    @tag("H2")
    def test_a_reset_password_makes_a_new_device_known(self):
        self.guess(REMOTE_ADDR=OFFICE)
        new_device = Client(REMOTE_ADDR=OFFICE)
        self.assertFalse(self.sign_in(new_device))
        self.reset_password(new_device)
        self.assertTrue(self.sign_in(new_device, NEW_PASSWORD))

    def reset_password(self, client):
        page = client.get(make_reset_path(User.objects.get()))["Location"]
        new = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
        client.post(page, new)

    @tag("H1")
    @override_settings(SECOND_FACTOR="optional")
    def test_reset_links_give_no_new_guesses_of_codes(self):
        """Someone may read the mail of a person, but not have their phone."""
        TOTP.activate(self.ada, generate_totp_secret())
        with mock.patch(
            "allauth.mfa.totp.internal.auth.validate_totp_code", return_value=False
        ) as validate:
            for _number in range(3):
                thief = Client()
                self.reset_password(thief)
                self.sign_in(thief, NEW_PASSWORD)
                for _guess in range(throttle.LIMIT):
                    thief.post("/admin/second-factor/authenticate/", {"code": "000000"})
        self.assertEqual(validate.call_count, throttle.LIMIT)

    @tag("H1")
    def test_an_open_session_gives_no_new_guesses(self):
        """Signing out elsewhere must not make another known device each time."""
        for has_cookie in (True, False):
            with self.subTest(has_cookie=has_cookie), count_hashes():
                thief = Client()
                self.assertTrue(self.sign_in(thief))
                CountingHasher.hashed = 0
                for _number in range(3):
                    if not has_cookie:
                        thief.cookies.pop(devices.name_cookie(self.ada), None)
                    thief.post("/admin/sign-out-elsewhere/")
                    guesser = Client(REMOTE_ADDR=ELSEWHERE)
                    name = devices.name_cookie(self.ada)
                    if name in thief.cookies:
                        guesser.cookies[name] = thief.cookies[name].value
                    self.guess(client=guesser)
                self.assertEqual(CountingHasher.hashed, throttle.LIMIT)

    @tag("H2")
    def test_a_device_stays_known_when_the_others_are_signed_out(self):
        self.sign_in(REMOTE_ADDR=OFFICE)
        self.client.post("/admin/sign-out-elsewhere/")
        self.client.post("/admin/logout/")
        self.guess(REMOTE_ADDR=OFFICE)
        self.assertTrue(self.sign_in(REMOTE_ADDR=OFFICE))

    @tag("H2", "D30")
    def test_a_device_stays_known_when_superusers_sign_out_themselves(self):
        self.sign_in(REMOTE_ADDR=OFFICE)
        self.client.post(f"/admin/orgadmin/user/{self.ada.pk}/sign_out/")
        self.client.post("/admin/logout/")
        self.guess(REMOTE_ADDR=OFFICE)
        self.assertTrue(self.sign_in(REMOTE_ADDR=OFFICE))

    @tag("H1")
    def test_signing_out_oneself_gives_no_new_guesses(self):
        """A session without the cookie must not get one by signing out everywhere."""
        root = create_superuser()
        thief = Client()
        thief.force_login(root)
        thief.post(f"/admin/orgadmin/user/{root.pk}/sign_out/")
        self.assertNotIn(devices.name_cookie(root), thief.cookies)


class HashingTests(GuessingCase):
    """Hashing passwords leaves threads for everyone else."""

    def setUp(self):
        hashers = ["orgadmin.accounts.hashing.BoundedPasswordHasher"]
        self.enterContext(override_settings(PASSWORD_HASHERS=hashers))
        fast = mock.patch.object(hashing.BoundedPasswordHasher, "iterations", 1)
        self.enterContext(fast)
        super().setUp()

    def occupy(self):
        """Take all places, as other threads of the process would."""
        for _number in range(hashing.PLACES):
            hashing._places.acquire()
            self.addCleanup(hashing._places.release)

    @tag("H3")
    def test_the_project_uses_the_bounded_hasher(self):
        from config import settings as project

        self.assertEqual(
            project.PASSWORD_HASHERS,
            ["orgadmin.accounts.hashing.BoundedPasswordHasher"],
        )

    @tag("H3")
    def test_leaves_threads_of_the_documented_server_for_other_pages(self):
        text = (PROJECT / "docs/deployment/gunicorn.conf.py").read_text()
        threads = int(re.search(r"^threads = (\d+)$", text, re.MULTILINE)[1])
        self.assertLessEqual(hashing.PLACES, threads // 2)

    @tag("H3")
    def test_asks_to_try_again_and_keeps_the_username(self):
        self.occupy()
        data = {"username": "ada", "password": "secret"}
        response = self.client.post(LOGIN, data)
        self.assertContains(response, "in a few seconds", status_code=503)
        self.assertContains(response, 'value="ada"', status_code=503)
        self.assertNotContains(response, "secret", status_code=503)
        self.assertIn("Retry-After", response.headers)

    @tag("H3")
    def test_does_not_count_an_attempt_that_was_not_checked(self):
        self.occupy()
        self.guess()
        self.assertFalse(SignInAttempt.objects.exists())

    @tag("H3")
    def test_forms_for_a_new_password_say_so_too(self):
        self.client.force_login(self.ada)
        self.occupy()
        data = {
            "old_password": "secret",
            "new_password1": NEW_PASSWORD,
            "new_password2": NEW_PASSWORD,
        }
        response = self.client.post(CHANGE, data)
        self.assertContains(response, "in a few seconds", status_code=503)
        with mock.patch.object(passwords, "check_own_password", return_value=True):
            response = self.client.post(CHANGE, data)
        self.assertContains(response, "in a few seconds", status_code=503)

    @tag("H3")
    def test_any_other_page_that_hashes_answers_503(self):
        self.client.force_login(self.ada)
        self.client.raise_request_exception = False
        self.occupy()
        data = {"username": "new", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        response = self.client.post("/admin/orgadmin/user/add/", data)
        self.assertEqual(response.status_code, 503)

    @tag("H3")
    def test_one_thread_hashes_at_a_time_and_one_waits(self):
        finish = threading.Event()
        running = []
        most = []

        def hash_slowly(hasher, password, salt, iterations=None):
            running.append(1)
            most.append(len(running))
            finish.wait(5)
            running.pop()
            return "hash"

        outcomes = []

        def encode():
            try:
                outcomes.append(hashing.BoundedPasswordHasher().encode("x", "salt"))
            except hashing.TooBusy:
                outcomes.append("busy")
            if outcomes.count("busy") == 8 - hashing.PLACES:
                finish.set()

        with mock.patch(
            "orgadmin.accounts.hashing.PBKDF2PasswordHasher.encode", hash_slowly
        ):
            threads = [threading.Thread(target=encode) for _number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(max(most), 1)
        self.assertEqual(outcomes.count("hash"), hashing.PLACES)


class InvitationTests(TestCase):
    """How many people can be invited in a day."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.bert = create_user("bert", admin_of=[self.acme])
        self.carl = create_user("carl", admin_of=[self.acme])

    def invite(self, actor, number, organization=None):
        email = f"guest{number}@example.com"
        return invitations.invite(
            organization or self.acme, email, REVIEWER, actor=actor
        )

    def invite_many(self, actor, times):
        for number in range(times):
            self.invite(actor, f"-{actor}-{number}")

    @tag("H4")
    def test_are_limited_by_person_in_all_organizations_together(self):
        self.invite_many(self.ada, invitations.LIMIT_BY_SENDER)
        other = create_organization("Other")
        set_role(other, [self.ada], ADMIN)
        for organization in (self.acme, other):
            with self.assertRaises(invitations.TooManyInvitations):
                self.invite(self.ada, "x", organization)
        self.invite(self.bert, "x")

    @tag("H4")
    def test_are_limited_by_organization(self):
        for actor in (self.ada, self.bert):
            self.invite_many(actor, invitations.LIMIT_TO_ORGANIZATION // 2)
        with self.assertRaises(invitations.TooManyInvitations):
            self.invite(self.carl, "x")
        self.invite(create_superuser(), "x")

    @tag("H4")
    def test_count_when_they_are_sent_again_or_revoked(self):
        for _number in range(invitations.LIMIT_BY_SENDER // 2):
            self.invite(self.ada, 1)
            invitations.revoke(self.invite(self.ada, 1), actor=self.ada)
        with self.assertRaises(invitations.TooManyInvitations):
            self.invite(self.ada, 1)

    @tag("H4")
    def test_the_page_says_when_more_can_be_sent(self):
        self.invite_many(self.ada, invitations.LIMIT_BY_SENDER)
        self.client.force_login(self.ada)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        data = {"add": "", "add-who": "x@example.com", "add-role": "admin"}
        response = self.client.post(url, data, follow=True)
        tomorrow = date_format(timezone.localtime() + timedelta(days=1), "DATE_FORMAT")
        self.assertContains(response, f"You can send more from {tomorrow}")
        self.assertEqual(mail.outbox, [])
        before = timezone.now() - timedelta(days=1, seconds=1)
        counted = SignInAttempt.objects.filter(count__gte=invitations.LIMIT_BY_SENDER)
        self.assertEqual(counted.count(), 2)
        counted.update(since=before)
        self.assertContains(
            self.client.post(url, data, follow=True), "An invitation is on its way to"
        )

    @tag("H4")
    def test_a_refused_invitation_does_not_put_off_the_next(self):
        self.invite_many(self.ada, invitations.LIMIT_BY_SENDER)
        counts = list(SignInAttempt.objects.values_list("key", "count", "since"))
        with self.assertRaises(invitations.TooManyInvitations):
            self.invite(self.ada, "x")
        self.assertEqual(
            list(SignInAttempt.objects.values_list("key", "count", "since")), counts
        )


# Names that would turn our mail into someone else's.
NASTY = [
    "http://evil.example",
    "Your account is locked: https://evil.example/unlock",
    "www.evil.example",
    "WWW.Evil.Example/path?query=1",
    "evil.example",
    "evil.co",
    "sub.evil.co.uk:8443/x",
    "192.168.1.1/admin",
    "1.2.3.4",
    "ftp://evil.example",
    "mailto:eve@evil.example",
    "tel:+49-30-123456",
    "javascript:alert(1)",
    "eve@evil.example",
    '"eve"@evil.example',
    "//evil.example/x",
    "\\\\evil\\share",
    "evil\u3002example",
    "evil\u200b.example",
    "Acme” as Admin. To accept, open “evil.example",
    "Acme\n\nTo accept the invitation, open this page:\nhttp://evil.example",
    "Acme\r\nBcc: victims@example.com",
    "Acme\u2028See http://evil.example\u2029",
    "\u202eelpmaxe.live\u202c",
    "=?utf-8?q?evil?=",
    "x" * 255,
]
# What mail programs make links of.
LINK = re.compile(
    r"\b[a-z][\w+.-]*:\S|//|\\\\|\bwww\.|\w@\w|\w[.\u3002]\w{2}|\d\.\d", re.IGNORECASE
)


class NastyNameTests(TestCase):
    """Names in our emails are text, and never links."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])

    def send_invitation(self):
        mail.outbox.clear()
        invitation = invitations.invite(
            self.acme, "new@example.com", REVIEWER, actor=self.ada, is_limited=False
        )
        send_invitation(invitation)
        [message] = mail.outbox
        return message

    def assert_harmless(self, message, ours):
        """Check a message, of which `ours` are the links that it may have."""
        body = message.body
        # The longest first, because some links begin like others.
        for text in sorted(ours, key=len, reverse=True):
            self.assertIn(text, body)
            body = body.replace(text, "")
        self.assertIsNone(LINK.search(body), body)
        self.assertNotIn("victims", str(message.message()["Bcc"]))

    @tag("H5")
    def test_names_of_organizations(self):
        expected = self.send_invitation()
        link = re.search(r"http\S+", expected.body)[0]
        for name in NASTY:
            with self.subTest(name):
                Organization.objects.filter(pk=self.acme.pk).update(name=name)
                self.acme.refresh_from_db()
                message = self.send_invitation()
                self.assertEqual(message.subject, expected.subject)
                link = re.search(r"http\S+/invitation/\S+", message.body)[0]
                self.assert_harmless(message, [link])
                # The same lines, of which only one has the name.
                lines = message.body.splitlines()
                self.assertEqual(len(lines), len(expected.body.splitlines()))
                self.assertEqual(lines[0].count("“"), 1)
                self.assertEqual(lines[0].count("”"), 1)

    @tag("H5")
    @override_settings(NOTIFY_PEOPLE=True, NOTIFY_ADMINS=True)
    def test_names_of_organizations_and_people_in_all_other_mail(self):
        create_user("bert", email="bert@example.org", admin_of=[self.acme])
        subjects = set()
        for name in NASTY:
            with self.subTest(name):
                mail.outbox.clear()
                Organization.objects.filter(pk=self.acme.pk).update(name=name)
                self.acme.refresh_from_db()
                person = create_user(f"{name}"[:150], email="c@example.org")
                with self.captureOnCommitCallbacks(execute=True):
                    set_role(self.acme, [person], REVIEWER)
                    set_role(self.acme, [person], None)
                self.assertEqual(len(mail.outbox), 6)
                for message in mail.outbox:
                    links = re.findall(r"http://127\S*/admin/\S*", message.body)
                    self.assert_harmless(message, links)
                    subjects.add(message.subject)
                person.delete()
        self.assertEqual(len(subjects), 2)

    @tag("H5")
    def test_names_of_inviters(self):
        for name in NASTY:
            with self.subTest(name):
                User.objects.filter(pk=self.ada.pk).update(first_name=name[:150])
                self.ada.refresh_from_db()
                message = self.send_invitation()
                link = re.search(r"http\S+/invitation/\S+", message.body)[0]
                self.assert_harmless(message, [link])

    @tag("H5")
    def test_the_address_of_the_inviter_is_given_if_it_is_known_to_be_theirs(self):
        self.assertNotIn("ada@example.com", self.send_invitation().body)
        self.ada.verify_email()
        self.assertIn(
            "ada, whose email address is ada@example.com, invited you",
            self.send_invitation().body,
        )
        self.ada.email = '"http://evil.example"@example.com'
        self.ada.save()
        self.ada.verify_email()
        self.assertNotIn("evil", self.send_invitation().body)

    @tag("H5")
    def test_ordinary_names_stay_as_they_are(self):
        for name in (
            "J.R.R. Tolkien & Sons",
            "St. Gallen AG",
            "Müller: Söhne",
            "株式会社",
        ):
            self.assertEqual(escape_for_mail(name), name)


class HistoryMemoryTests(TestCase):
    """Histories read only what they show."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.root = create_superuser()
        self.client.force_login(self.root)
        self.url = f"/admin/orgadmin/organization/{self.acme.pk}/history/"

    def save_versions(self, values):
        for value in values:
            self.acme.notes = value
            self.acme.save(update_fields=["notes"])

    def read(self, user=None, query=""):
        if user is not None:
            self.client.force_login(user)
        context = self.client.get(f"{self.url}{query}").context
        messages = [entry.get_change_message() for entry in context["action_list"]]
        return messages, context.get("older")

    @tag("H6")
    def test_has_pages_that_together_show_each_change_once(self):
        self.save_versions(
            str(number) for number in range(history.ENTRIES_PER_PAGE * 2)
        )
        for _number in range(3):
            LogEntry.objects.log_actions(self.root.pk, [self.acme], 2, "By hand.")
        shown = []
        messages, older = self.read()
        shown += messages
        while older:
            self.assertEqual(len(messages), history.ENTRIES_PER_PAGE)
            messages, older = self.read(query=f"?before={older}")
            shown += messages
        self.assertEqual(len(shown), history.ENTRIES_PER_PAGE * 2 + 3 + 1)
        self.assertEqual(len(set(shown)), history.ENTRIES_PER_PAGE * 2 + 1 + 1)
        self.assertEqual(shown[-1], "Added.")

    @tag("H6")
    def test_pages_are_full_of_what_the_person_may_see(self):
        for number in range(history.ENTRIES_PER_PAGE + 5):
            self.save_versions([f"note {number}"])
            self.acme.phone = str(number)
            self.acme.save(update_fields=["phone"])
        reviewer = create_user("remi", reviewer_of=[self.acme])
        messages, older = self.read(reviewer)
        self.assertEqual(len(messages), history.ENTRIES_PER_PAGE)
        self.assertTrue(all(message.startswith("Phone") for message in messages))
        rest, older = self.read(reviewer, f"?before={older}")
        self.assertEqual(len(rest), 6)
        self.assertIsNone(older)

    @tag("H6")
    def test_reads_one_page_of_versions(self):
        self.save_versions(
            "x" * number for number in range(history.ENTRIES_PER_PAGE * 3)
        )
        with CaptureQueriesContext(connection) as queries:
            self.read()
        versions = [
            query["sql"]
            for query in queries
            if "historicalorganization" in query["sql"]
            and "notes_start" in query["sql"]
        ]
        self.assertLessEqual(len(versions), 2)
        for sql in versions:
            self.assertIn(f"LIMIT {history.ENTRIES_PER_PAGE}", sql)
            # Only the start of the text is read.
            self.assertEqual(sql.count('"notes"'), 1)

    @tag("H6")
    def test_cuts_long_texts_around_what_changed_and_shows_them_whole_on_demand(self):
        text = "a" * 10_000
        self.save_versions([text, f"{text[:5_000]}CHANGED{text[5_000:]}"])
        page = self.client.get(self.url)
        message = page.context["action_list"][0].get_change_message()
        self.assertLess(len(message), 3 * history.MAX_VALUE_SHOWN)
        self.assertIn("CHANGED", message)
        version = page.context["action_list"][0].version
        self.assertContains(page, f'href="?whole={version}"')
        [whole], _older = self.read(query=f"?whole={version}")
        self.assertIn(text, whole)

    @tag("H6")
    def test_a_whole_change_shows_only_what_the_person_may_see(self):
        self.acme.phone = "7"
        self.save_versions(["secret" * 100])
        self.acme.save()
        version = self.acme.history.first().pk
        secret_version = self.acme.history.all()[1].pk
        elsewhere = create_organization("Elsewhere").history.get().pk
        reviewer = create_user("remi", reviewer_of=[self.acme])
        self.assertEqual(len(self.read(reviewer, f"?whole={version}")[0]), 1)
        for hidden in (secret_version, elsewhere, 999_999):
            self.assertEqual(self.read(reviewer, f"?whole={hidden}")[0], [])

    @tag("H6")
    def test_who_changed_a_field_is_found_without_reading_the_history(self):
        ada = create_user("ada", admin_of=[self.acme])
        self.acme._history_user = ada
        self.save_versions(["1", "2"])
        self.acme._history_user = self.root
        self.acme.phone = "7"
        self.acme.save()
        with self.assertNumQueries(2):
            self.assertEqual(history.find_author(self.acme, "notes", self.root), "ada")
        self.assertEqual(
            history.find_author(self.acme, "reference", self.root), "Someone"
        )

    @tag("H6")
    def test_lists_read_no_texts_that_they_do_not_show(self):
        url = "/admin/orgadmin/organization/"
        with CaptureQueriesContext(connection) as queries:
            self.assertContains(self.client.get(url), "Acme")
        for query in queries:
            self.assertNotIn('organization"."notes"', query["sql"])

    @tag("H6")
    def test_the_membership_log_cuts_long_reasons(self):
        ada = create_user("ada")
        set_role(self.acme, [ada], ADMIN, reason="x" * 100_000)
        for url in (
            f"/admin/orgadmin/organization/{self.acme.pk}/ledger/",
            "/admin/orgadmin/membershipevent/",
        ):
            response = self.client.get(url)
            self.assertContains(response, "x" * 400)
            self.assertNotContains(response, "x" * 600)


class ExportMemoryTests(TestCase):
    """Exports keep only a part of the rows in memory."""

    @tag("H7")
    def test_a_batch_has_a_limited_amount_of_text(self):
        texts = ["x" * 400_000, "y" * 400_000, "z" * 400_000, "", "w" * 3_000_000]
        for number, notes in enumerate(texts):
            create_organization(f"{number}", notes=notes)
        organizations = Organization.objects.all()
        sizes = [
            [len(organization.notes) for organization in batch]
            for batch in batches.read_by_size(organizations, ["notes"])
        ]
        self.assertEqual(sizes, [[400_000, 400_000], [400_000, 0], [3_000_000]])

    @tag("H7")
    def test_a_batch_has_a_limited_number_of_rows_in_their_order(self):
        names = [f"{number:03}" for number in range(7)]
        Organization.objects.bulk_create(Organization(name=name) for name in names)
        rows = Organization.objects.order_by("-name")
        with mock.patch.object(batches, "BATCH", 3):
            read = [
                [organization.name for organization in batch]
                for batch in batches.read_by_size(rows, ["notes"])
            ]
        names.reverse()
        self.assertEqual(read, [names[:3], names[3:6], names[6:]])

    @tag("H7")
    def test_the_membership_log_is_read_while_it_is_sent(self):
        root = create_superuser()
        acme = create_organization("Acme")
        for number in range(5):
            user = create_user(f"user{number}")
            set_role(acme, [user], ADMIN, actor=root, reason="x" * 400_000)
        ada = create_user("ada", admin_of=[acme])
        self.client.force_login(ada)
        url = f"/admin/orgadmin/organization/{acme.pk}/ledger/?csv=1"
        with CaptureQueriesContext(connection) as queries:
            response = self.client.get(url)
            before = len(queries)
            lines = list(response.streaming_content)
        # The keys, and four queries for each of three batches.
        self.assertEqual(len(queries) - before, 13)
        self.assertGreater(len(lines), 6)


class ProxyTests(SimpleTestCase):
    """The documented nginx limits requests for the pages that check secrets."""

    def setUp(self):
        text = (PROJECT / "docs/deployment/nginx.conf").read_text()
        # {pattern of a location: its directives}
        self.locations = dict(
            re.findall(r"location ~ (\S+) \{\n(.*?)\n    \}", text, re.DOTALL)
        )
        # The first one redirects to https.
        blocks = re.findall(r"location / \{\n(.*?)\n    \}", text, re.DOTALL)
        self.other = blocks[-1]

    def find_limits(self, path):
        """Return the limits that nginx has for a path, from the first that matches."""
        directives = self.other
        for pattern, its_directives in self.locations.items():
            if re.search(pattern, path):
                directives = its_directives
                break
        return set(re.findall(r"limit_(?:req zone=|conn )(\w+)", directives))

    @tag("H8")
    def test_pages_that_check_secrets_are_limited(self):
        pages = [
            "/admin/login/",
            "/admin/password_change/",
            "/admin/orgadmin/user/add/",
            "/admin/orgadmin/user/7/password/",
            "/admin/second-factor/authenticate/",
            "/admin/second-factor/totp/activate/",
            "/admin/oidc/company/login/",
        ]
        # All pages for people who are not signed in, including those to come.
        for pattern in accounts_urls.urlpatterns:
            if pattern.name in ("stay_signed_in", "stop_viewing"):
                # They check no secret: the session either belongs to a person or not.
                continue
            path = re.sub(r"<\w+:\w+>|<\w+>", "x", str(pattern.pattern))
            pages.append(f"/admin/{path}")
        self.assertGreater(len(pages), 10)
        for page in pages:
            with self.subTest(page):
                limits = self.find_limits(page)
                self.assertIn("orgadmin_secrets", limits)
                self.assertIn("orgadmin_secrets_at_a_time", limits)
                # A location with limits of its own does not inherit the others.
                self.assertIn("orgadmin_at_a_time", limits)

    @tag("H8")
    def test_links_are_limited_when_they_are_opened_and_forms_when_they_are_sent(self):
        for page in (
            "/admin/invitation/token/",
            "/admin/reset/uid/token/",
            "/admin/lock-out/token/",
            "/admin/new-email/token/",
            "/admin/second-factor/set-up/token/",
        ):
            self.assertIn("orgadmin_links", self.find_limits(page))
        for page in ("/admin/orgadmin/organization/7/people/", "/admin/logout/"):
            self.assertEqual(self.find_limits(page), {"orgadmin_posts"})
