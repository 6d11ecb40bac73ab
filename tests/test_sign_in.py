import os
import re
import subprocess
import sys
import time
from unittest import mock

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth
from django.conf import settings
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag

from orgadmin.accounts import throttle
from orgadmin.accounts.set_up_link import open_page
from orgadmin.models import SignInAttempt, User
from orgadmin.people import invitations
from tests.factories import (
    ADMIN,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

LOGIN = "/admin/login/"
SECOND_FACTOR = "/admin/second-factor/"
ENTER_CODE = f"{SECOND_FACTOR}authenticate/"
SET_UP = f"{SECOND_FACTOR}totp/activate/"
REMOVE = f"{SECOND_FACTOR}totp/deactivate/"
RECOVERY_CODES = f"{SECOND_FACTOR}recovery-codes/"

CREDENTIALS = {"username": "ada", "password": "secret"}


def make_code(secret, later=0):
    """Return the code that an authenticator app shows `later` half minutes from now.

    Codes are accepted once, so a test that needs another one asks for a later one.
    """
    step = int(time.time()) // 30 + later
    return auth.format_hotp_value(auth.hotp_value(secret, step))


def without_cache():
    """Make django-allauth forget used codes, as if another process had used them."""
    return mock.patch("django.core.cache.cache.add", return_value=True)


class SignInCase(TestCase):
    def sign_in(self, username="ada", password="secret", **extra):
        data = {"username": username, "password": password}
        return self.client.post(LOGIN, data, **extra)

    def is_signed_in(self):
        return "_auth_user_id" in self.client.session

    def enter_code(self, code, **extra):
        return self.client.post(ENTER_CODE, {"code": code}, **extra)

    def open_set_up(self, client=None):
        """Open the page to set up an app, as the link in an email does."""
        session = (client or self.client).session
        open_page(session)
        session.save()

    def set_up(self, *, open_first=True):
        """Set up an app for the person who is signed in.

        Return its secret and the recovery codes.
        """
        if open_first:
            self.open_set_up()
        page = self.client.get(SET_UP).content.decode()
        secret = re.search(r"<code>([A-Z2-7]+)</code>", page)[1]
        response = self.client.post(SET_UP, {"code": make_code(secret)}, follow=True)
        codes = re.findall(r"<li><code>(\d{8})</code>", response.content.decode())
        return secret, codes


@override_settings(SECOND_FACTOR="optional")
class SecondFactorTests(SignInCase):
    def setUp(self):
        self.acme = create_organization()
        self.ada = create_user("ada", admin_of=[self.acme])
        self.sign_in()
        self.secret, self.codes = self.set_up()
        self.client.post("/admin/logout/")

    def make_code(self):
        """Return a code that was not used when the app was set up."""
        return make_code(self.secret, 1)

    @tag("D15")
    def test_asks_for_a_code_of_the_app_after_the_password(self):
        self.assertEqual(len(self.codes), 10)
        self.assertRedirects(self.sign_in(), ENTER_CODE)
        self.assertFalse(self.is_signed_in())
        self.assertRedirects(self.client.get("/admin/"), f"{LOGIN}?next=/admin/")
        self.assertContains(self.enter_code("000000"), "Incorrect code.")
        self.assertFalse(self.is_signed_in())
        self.assertRedirects(self.enter_code(self.make_code()), "/admin/")

    @tag("D15")
    def test_leads_to_the_page_that_was_asked_for(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.client.post(LOGIN, CREDENTIALS | {"next": page})
        self.assertRedirects(self.enter_code(self.make_code()), page)

    @tag("D15")
    def test_a_code_without_the_password_is_worth_nothing(self):
        self.assertRedirects(self.enter_code(self.make_code()), LOGIN)
        self.assertEqual(self.sign_in(password="wrong").status_code, 200)
        self.assertRedirects(self.enter_code(self.make_code()), LOGIN)

    @tag("D15")
    def test_a_code_is_accepted_once_by_all_processes_together(self):
        code = self.make_code()
        for expected in (True, False):
            self.sign_in()
            with without_cache():
                self.enter_code(code)
            self.assertEqual(self.is_signed_in(), expected)
            self.client.logout()

    @tag("D15")
    def test_a_recovery_code_is_accepted_once(self):
        for expected in (True, False):
            self.sign_in()
            self.enter_code(self.codes[3])
            self.assertEqual(self.is_signed_in(), expected)
            self.client.logout()

    @tag("D15")
    def test_guessing_is_limited_and_the_refusal_reads_like_a_wrong_code(self):
        self.sign_in()
        for _attempt in range(throttle.LIMIT):
            wrong = self.enter_code("000000")
        right = self.enter_code(self.make_code())
        self.assertEqual(wrong.context["form"].errors, right.context["form"].errors)

    @tag("D15")
    def test_guessing_is_limited_by_person_not_by_address(self):
        # On a device that the account does not know.
        self.client.logout()
        self.sign_in()
        for _attempt in range(throttle.LIMIT):
            self.enter_code("000000")
        self.client.logout()
        self.sign_in(REMOTE_ADDR="192.0.2.1")
        self.enter_code(self.make_code(), REMOTE_ADDR="192.0.2.1")
        self.assertFalse(self.is_signed_in())
        SignInAttempt.objects.all().delete()
        self.enter_code(self.make_code())
        self.assertTrue(self.is_signed_in())

    @tag("D15")
    def test_is_asked_of_people_who_have_no_access(self):
        set_role(self.acme, [self.ada], None)
        self.assertRedirects(self.sign_in(), ENTER_CODE)
        self.assertFalse(self.is_signed_in())
        no_organization = "/admin/no-organization/"
        response = self.client.get(no_organization)
        self.assertRedirects(response, f"{LOGIN}?next={no_organization}")
        self.assertRedirects(self.enter_code(self.make_code()), no_organization)
        self.assertContains(self.client.get(SECOND_FACTOR), "10 codes left")
        self.assertRedirects(self.client.get("/admin/"), f"{LOGIN}?next=/admin/")

    @tag("D15")
    def test_people_who_lose_access_after_the_password_see_no_organization(self):
        self.sign_in()
        set_role(self.acme, [self.ada], None)
        response = self.enter_code(self.make_code())
        self.assertRedirects(response, "/admin/no-organization/")

    @tag("D15")
    def test_removing_it_asks_for_a_recent_sign_in(self):
        self.sign_in()
        self.enter_code(self.make_code())
        age_sign_in(self.client, 10)
        for response in (self.client.post(REMOVE), self.client.get(REMOVE)):
            self.assertContains(response, "Confirm it’s you")
        self.assertTrue(Authenticator.objects.exists())
        identity = {"step-up-password": "secret", "step-up-code": self.codes[0]}
        self.assertRedirects(self.client.post(REMOVE, identity), SECOND_FACTOR)
        self.assertFalse(Authenticator.objects.exists())

    @tag("D15")
    def test_without_it_the_password_is_enough(self):
        self.sign_in()
        self.enter_code(self.make_code())
        self.client.post(REMOVE)
        self.assertFalse(Authenticator.objects.exists())
        self.client.logout()
        self.assertRedirects(self.sign_in(), "/admin/")

    @tag("D15")
    def test_a_recent_sign_in_in_another_browser_does_not_count(self):
        self.sign_in()
        self.enter_code(self.make_code())
        age_sign_in(self.client, 10)
        other = Client()
        other.post(LOGIN, CREDENTIALS)
        other.post(ENTER_CODE, {"code": self.codes[0]})
        self.assertEqual(other.get(REMOVE).status_code, 200)
        self.client.post(REMOVE)
        self.assertTrue(Authenticator.objects.exists())

    @tag("D15")
    def test_a_used_code_is_refused_however_it_is_typed(self):
        code_of_the_set_up = make_code(self.secret)
        code = self.make_code()
        cases = [
            (code_of_the_set_up, False),
            (code, True),
            (f"{code[:3]}-{code[3:]}", False),
        ]
        for typed, expected in cases:
            self.sign_in()
            with without_cache():
                self.enter_code(typed)
            self.assertEqual(self.is_signed_in(), expected)
            self.client.logout()

    @tag("D15")
    def test_new_recovery_codes_replace_the_old_ones(self):
        self.sign_in()
        self.enter_code(self.make_code())
        response = self.client.post(f"{RECOVERY_CODES}generate/", follow=True)
        self.assertNotContains(response, self.codes[0])
        self.assertContains(self.client.get(SECOND_FACTOR), "10 codes left")
        download = self.client.get(f"{RECOVERY_CODES}download/")
        self.assertEqual(len(download.content.split()), 10)

    @tag("D15")
    def test_an_invitation_does_not_bypass_it(self):
        self.ada.set_unusable_password()
        self.ada.email = "ada@example.com"
        self.ada.save()
        invitation = invitations.invite(
            create_organization("Bolt"),
            self.ada.email,
            ADMIN,
            actor=create_superuser(),
        )
        link = f"/admin/invitation/{invitation.make_token()}/"
        new = {"new_password1": "correct horse", "new_password2": "correct horse"}
        self.assertContains(self.client.post(link, new), "Sign in to it")
        self.ada.refresh_from_db()
        self.assertFalse(self.ada.has_usable_password())
        self.assertFalse(self.is_signed_in())

    @tag("D15", "D18")
    def test_is_asked_for_before_an_invitation_is_accepted(self):
        User.objects.filter(pk=self.ada.pk).update(email="ada@example.com")
        bolt = create_organization("Bolt")
        invitation = invitations.invite(
            bolt, "ada@example.com", ADMIN, actor=create_superuser()
        )
        link = f"/admin/invitation/{invitation.make_token()}/"
        credentials = {"username": "ada", "password": "secret", "next": link}
        self.assertRedirects(self.client.post(LOGIN, credentials), ENTER_CODE)
        self.client.post(link)
        self.assertFalse(self.ada.groups.contains(bolt.admin))
        self.assertRedirects(self.enter_code(self.make_code()), link)
        self.client.post(link)
        self.assertTrue(self.ada.groups.contains(bolt.admin))

    @tag("D15")
    def test_is_not_asked_for_when_switched_off(self):
        with override_settings(SECOND_FACTOR="off"):
            self.assertRedirects(self.sign_in(), "/admin/")
            self.assertNotContains(self.client.get("/admin/"), "Second factor")


@override_settings(SECOND_FACTOR="optional")
class LostPhoneTests(SignInCase):
    """Removing the second factor of people who can no longer use it."""

    def setUp(self):
        self.ada = create_user("ada", admin_of=[create_organization()])
        Authenticator.objects.create(user=self.ada, type="totp", data={})

    def remove(self, user):
        data = {
            "action": "remove_second_factor",
            "_selected_action": [user.pk],
            "post": "yes",
        }
        return self.client.post("/admin/orgadmin/user/", data, follow=True)

    @tag("D15")
    def test_superusers_remove_it(self):
        self.client.force_login(create_superuser())
        self.assertContains(self.remove(self.ada), "password alone")
        self.assertFalse(Authenticator.objects.exists())
        history = self.client.get(f"/admin/orgadmin/user/{self.ada.pk}/history/")
        self.assertContains(history, "second factor")

    # Otherwise the session of the superuser ends, because it did not pass their own.
    @override_settings(SECOND_FACTOR="off")
    @tag("D15")
    def test_superusers_do_not_remove_their_own_without_a_recent_sign_in(self):
        root = create_superuser()
        Authenticator.objects.create(user=root, type="totp", data={})
        self.client.force_login(root)
        self.remove(root)
        self.assertTrue(Authenticator.objects.filter(user=root).exists())

    @tag("D15")
    def test_staff_who_manage_users_do_not_remove_it(self):
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        self.client.force_login(manager)
        self.remove(self.ada)
        self.assertTrue(Authenticator.objects.exists())


@override_settings(SECOND_FACTOR="staff")
class RequiredFactorTests(SignInCase):
    @tag("D15")
    def test_platform_staff_set_one_up_before_anything_else(self):
        acme = create_organization()
        create_superuser("root")
        create_user("staff", is_staff=True)
        urls = [
            "/admin/",
            f"/admin/orgadmin/organization/{acme.pk}/change/",
            "/admin/password_change/",
        ]
        for username in ("root", "staff"):
            self.sign_in(username)
            self.open_set_up()
            for url in urls:
                self.assertRedirects(self.client.get(url), SET_UP)
            response = self.client.post(
                "/admin/orgadmin/organization/add/", {"name": "X"}
            )
            self.assertEqual(response["Location"], SET_UP)
            self.set_up()
            self.assertEqual(self.client.get("/admin/").status_code, 200)
            self.client.post("/admin/logout/")

    @tag("D15")
    def test_an_older_session_ends_when_the_person_sets_one_up(self):
        create_superuser("root")
        thief = Client()
        thief.post(LOGIN, {"username": "root", "password": "secret"})
        self.open_set_up(thief)
        self.assertEqual(thief.get(SET_UP).status_code, 200)
        self.sign_in("root")
        self.set_up()
        for url in (RECOVERY_CODES, SET_UP, "/admin/"):
            self.assertEqual(thief.get(url).status_code, 302)
        self.assertNotIn("_auth_user_id", thief.session)
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    @tag("D15")
    def test_every_url_leads_to_the_set_up_except_signing_out(self):
        create_superuser("root")
        self.sign_in("root")
        self.open_set_up()
        urls = [
            "/admin/orgadmin/organization/1/",
            "/admin/nothing/",
            "/admin/jsi18n/",
            SECOND_FACTOR,
        ]
        for url in urls:
            self.assertRedirects(self.client.get(url), SET_UP)
        self.client.post("/admin/logout/")
        self.assertFalse(self.is_signed_in())

    @tag("D15")
    def test_people_who_remove_theirs_set_up_another_before_anything_else(self):
        create_superuser("root")
        self.sign_in("root")
        self.set_up()
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        self.client.post(REMOVE)
        self.assertFalse(Authenticator.objects.exists())
        self.assertRedirects(self.client.get("/admin/"), SET_UP)

    @tag("D15")
    def test_recovery_codes_alone_are_not_a_second_factor(self):
        root = create_superuser("root")
        Authenticator.objects.create(
            user=root, type="recovery_codes", data={"seed": "a" * 80, "used_mask": 0}
        )
        self.sign_in("root")
        self.open_set_up()
        self.assertRedirects(self.client.get("/admin/"), SET_UP)

    @tag("D15")
    def test_other_people_need_none(self):
        create_user("ada", admin_of=[create_organization()])
        self.assertRedirects(self.sign_in(), "/admin/")


class AddressTests(SignInCase):
    """The IP address by which guesses are counted."""

    def setUp(self):
        create_superuser("ada")

    def guess_behind_a_proxy(self):
        """Use up all guesses. The guesser claims another address each time."""
        for number in range(throttle.LIMIT):
            forwarded = f"203.0.113.{number}, 198.51.100.7"
            self.sign_in(password="wrong", HTTP_X_FORWARDED_FOR=forwarded)

    def assert_can_sign_in(self, expected, **extra):
        self.sign_in(**extra)
        self.assertEqual(self.is_signed_in(), expected)
        self.client.logout()

    @tag("D7")
    def test_behind_a_proxy_it_is_the_one_that_the_proxy_saw(self):
        with override_settings(TRUST_PROXY=True):
            self.guess_behind_a_proxy()
            self.assert_can_sign_in(False, HTTP_X_FORWARDED_FOR="198.51.100.7")

    @tag("D7")
    def test_without_a_proxy_the_header_does_not_count(self):
        self.guess_behind_a_proxy()
        with override_settings(TRUST_PROXY=True):
            self.assert_can_sign_in(True, HTTP_X_FORWARDED_FOR="198.51.100.7")

    @tag("D7")
    def test_all_ipv6_addresses_of_one_network_are_one(self):
        for number in range(throttle.LIMIT):
            self.sign_in(password="wrong", REMOTE_ADDR=f"2001:db8::{number}")
        self.assert_can_sign_in(False, REMOTE_ADDR="2001:db8::ffff")
        self.assert_can_sign_in(True, REMOTE_ADDR="2001:db8:0:1::1")

    @tag("D7")
    def test_ipv4_within_ipv6_is_ipv4_and_the_port_does_not_matter(self):
        for number in range(throttle.LIMIT):
            self.sign_in(password="wrong", REMOTE_ADDR="::ffff:203.0.113.7")
            self.sign_in(password="wrong", REMOTE_ADDR=f"203.0.113.8:{40_000 + number}")
        self.assert_can_sign_in(False, REMOTE_ADDR="203.0.113.7")
        self.assert_can_sign_in(False, REMOTE_ADDR="203.0.113.8")
        self.assert_can_sign_in(True, REMOTE_ADDR="::ffff:198.51.100.9")


class SwitchTests(SimpleTestCase):
    """Ways to sign in that the settings switch on and off."""

    def list_urls(self, **environment):
        """Return the names of some pages that a process with these settings has."""
        code = """
import django
from django.urls import get_resolver

django.setup()
names = get_resolver().reverse_dict
print(*[name for name in ("mfa_index", "openid_connect_login") if name in names])
"""
        base = {"DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "true"}
        output = subprocess.check_output(
            [sys.executable, "-c", code],
            env=os.environ | base | environment,
            cwd=settings.BASE_DIR,
            text=True,
        )
        return output.split()

    @tag("D15", "D16")
    def test_have_no_url_when_they_are_off(self):
        self.assertEqual(self.list_urls(SECOND_FACTOR="off", OIDC_SERVER=""), [])

    @tag("D15", "D16")
    def test_have_a_url_when_they_are_on(self):
        urls = self.list_urls(
            SECOND_FACTOR="staff",
            OIDC_SERVER="https://id.example.com",
            OIDC_CLIENT_ID="x",
            OIDC_CLIENT_SECRET="y",
        )
        self.assertEqual(urls, ["mfa_index", "openid_connect_login"])
