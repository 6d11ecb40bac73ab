import os
import re
import subprocess
import sys
import time
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag
from jwt import encode as encode_token

from orgadmin.accounts import adapters, throttle
from orgadmin.accounts.set_up_link import open_page
from orgadmin.models import SignInAttempt, User
from orgadmin.people import invitations, offboarding
from tests.factories import (
    ADMIN,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.identity import identity_server

LOGIN = "/admin/login/"
COMPANY_LOGIN = "/admin/oidc/company/login/"
COMPANY_CALLBACK = f"{COMPANY_LOGIN}callback/"

SECOND_FACTOR = "/admin/second-factor/"
ENTER_CODE = f"{SECOND_FACTOR}authenticate/"
SET_UP = f"{SECOND_FACTOR}totp/activate/"
REMOVE = f"{SECOND_FACTOR}totp/deactivate/"
RECOVERY_CODES = f"{SECOND_FACTOR}recovery-codes/"

CREDENTIALS = {"username": "ada", "password": "secret"}
NO_ACCOUNT = "You do not have an account here"
FAILED = "Sign-in failed"


def make_code(secret, later=0):
    """Return the code that an authenticator app shows `later` half minutes from now.

    Codes are accepted once, so a test that needs another one asks for a later one.
    """
    step = int(time.time()) // 30 + later
    return auth.format_hotp_value(auth.hotp_value(secret, step))


def company_settings(server):
    """Return the settings for signing in with a server of `identity_server`."""
    app = {
        "provider_id": "company",
        "name": "Example",
        "client_id": "orgadmin",
        "secret": "hush",
        "settings": {"server_url": server.address},
    }
    provider = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"] | {"APPS": [app]}
    return {
        "OIDC_SERVER": server.address,
        "OIDC_NAME": "Example",
        "SOCIALACCOUNT_PROVIDERS": {"openid_connect": provider},
    }


def without_cache():
    """Make django-allauth forget used codes, as if another process had used them."""
    return mock.patch("django.core.cache.cache.add", return_value=True)


def encode_another_id(claims, key):
    """Encode a token as the provider does, but for another person."""
    return encode_token(claims | {"sub": "2"}, key)


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

    def age_session(self):
        """Make the sign-in of the session too old to change the second factor."""
        session = self.client.session
        session["signed_in"] -= adapters.RECENT_SIGN_IN
        session.save()

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
    def test_refuses_people_who_lost_access_after_the_password(self):
        self.sign_in()
        set_role(self.acme, [self.ada], None)
        self.enter_code(self.make_code())
        self.assertFalse(self.is_signed_in())

    @tag("D15")
    def test_removing_it_asks_for_a_recent_sign_in(self):
        self.sign_in()
        self.enter_code(self.make_code())
        self.age_session()
        for response in (self.client.post(REMOVE), self.client.get(REMOVE)):
            sign_in_again = response["Location"]
            self.assertEqual(
                sign_in_again,
                f"{LOGIN}?next=%2Fadmin%2Fsecond-factor%2Ftotp%2Fdeactivate%2F",
            )
        page = self.client.get(sign_in_again)
        self.assertContains(page, "sign in again")
        self.assertNotContains(page, "do not have access to this page")
        self.assertTrue(Authenticator.objects.exists())
        self.assertRedirects(self.client.post(sign_in_again, CREDENTIALS), ENTER_CODE)
        self.assertRedirects(self.enter_code(self.codes[0]), REMOVE)

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
        self.age_session()
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
        new = {"new_password1": "correct horse", "new_password2": "correct horse"}
        with mock.patch(
            "orgadmin.accounts.views.find_invitation", return_value=invitation
        ):
            response = self.client.post("/admin/invitation/x/", new)
        self.assertRedirects(response, ENTER_CODE)
        self.assertFalse(self.is_signed_in())

    @tag("D15")
    def test_is_not_asked_for_when_switched_off(self):
        with override_settings(SECOND_FACTOR="off"):
            self.assertRedirects(self.sign_in(), "/admin/")
            self.assertNotContains(self.client.get("/admin/"), "Second factor")


@override_settings(SECOND_FACTOR="optional")
class LostPhoneTests(SignInCase):
    """Removing the second factor of people who cannot show it any more."""

    def setUp(self):
        self.ada = create_user("ada", admin_of=[create_organization()])
        Authenticator.objects.create(user=self.ada, type="totp", data={})

    def remove(self, user):
        data = {"action": "remove_second_factor", "_selected_action": [user.pk]}
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
    """Which IP address guesses are counted by."""

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


class CompanyTests(SignInCase):
    """Signing in with the company's OpenID provider."""

    def setUp(self):
        self.server = self.enterContext(identity_server())
        self.enterContext(override_settings(**company_settings(self.server)))
        self.acme = create_organization()
        self.ada = create_user("ada", admin_of=[self.acme], email="Ada@example.com")

    def come(self, code="good", start=COMPANY_LOGIN, **claims):
        """Go to the provider, be known there as Ada, and return the answer here.

        `claims` are what the provider says differently about her.
        """
        self.server.person = {
            "sub": "1",
            "email": "ada@example.com",
            "email_verified": True,
            **claims,
        }
        url = urlsplit(self.client.post(start)["Location"])
        self.assertEqual(
            f"{url.scheme}://{url.netloc}{url.path}",
            f"{self.server.address}/authorization",
        )
        query = parse_qs(url.query)
        self.assertEqual(
            query["redirect_uri"], [f"http://testserver{COMPANY_CALLBACK}"]
        )
        self.assertIn("code_challenge", query)
        return self.come_back(state=query["state"][0], code=code)

    def come_back(self, **query):
        return self.client.get(COMPANY_CALLBACK, query)

    def assert_refused(self, response, text=NO_ACCOUNT):
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
        self.assertContains(self.client.get(LOGIN), text)
        self.assertFalse(self.is_signed_in())

    @tag("D16")
    def test_the_sign_in_page_offers_it_beside_the_password(self):
        page = self.client.get(LOGIN)
        self.assertContains(page, "Sign in with Example")
        self.assertContains(page, 'name="password"')

    @tag("D16")
    def test_signs_in_people_by_their_confirmed_address_and_remembers_them(self):
        self.assertRedirects(self.come(), "/admin/")
        self.assertEqual(self.client.session["_auth_user_id"], str(self.ada.pk))
        self.client.logout()
        self.assertRedirects(self.come(email="married@example.com"), "/admin/")
        self.assertEqual(User.objects.count(), 1)

    @tag("D16")
    def test_the_password_still_works(self):
        self.come()
        self.ada.refresh_from_db()
        self.assertTrue(self.ada.check_password("secret"))

    @tag("D16")
    def test_keeps_what_somebody_else_changes_about_the_person_at_the_same_time(self):
        read_before = User.objects.find_by_email("ada@example.com")
        User.objects.filter(pk=self.ada.pk).update(first_name="Changed")
        with mock.patch(
            "orgadmin.models.querysets.UserQuerySet.find_by_email",
            return_value=read_before,
        ):
            self.come()
        self.ada.refresh_from_db()
        self.assertEqual(self.ada.first_name, "Changed")

    @tag("D16")
    def test_leads_to_the_page_that_was_asked_for_within_the_site(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        response = self.come(start=f"{COMPANY_LOGIN}?next={page}")
        self.assertRedirects(response, page)
        self.client.logout()
        with override_settings(ALLOWED_HOSTS=[".example", "testserver"]):
            response = self.come(start=f"{COMPANY_LOGIN}?next=https://evil.example/")
            self.assertRedirects(response, "/admin/")

    @tag("D16")
    def test_refuses_everyone_else_and_creates_no_account(self):
        outsider = create_user("outsider", email="out@example.com")
        create_user(
            "gone", email="gone@example.com", is_superuser=True, is_active=False
        )
        cases = [
            {"email": "new@example.com"},
            {"email": outsider.email},
            {"email": "gone@example.com"},
            {"email_verified": False},
            {"email": None},
            {"email": ""},
        ]
        for claims in cases:
            with self.subTest(claims):
                self.assert_refused(self.come(**claims))
                self.assertEqual(User.objects.count(), 3)
                self.assertEqual(SocialAccount.objects.count(), 0)

    @tag("D16")
    def test_refuses_known_people_who_have_lost_their_access(self):
        self.come()
        self.client.logout()
        set_role(self.acme, [self.ada], None)
        self.assert_refused(self.come())

    @tag("D16")
    @override_settings(OIDC_TRUST_EMAIL=True)
    def test_can_trust_a_provider_that_does_not_say_which_addresses_are_confirmed(self):
        self.assertRedirects(self.come(email_verified=None), "/admin/")

    @tag("D16")
    @override_settings(OIDC_TRUST_EMAIL=True)
    def test_refuses_an_address_that_even_a_trusted_provider_does_not_confirm(self):
        for unconfirmed in (False, "false", "0", 0):
            self.assert_refused(self.come(email_verified=unconfirmed))

    @tag("D16")
    def test_letters_that_look_the_same_make_another_address(self):
        cases = [
            ("kim@example.com", "\u212aim@example.com"),
            ("steve@example.com", "\u017fteve@example.com"),
        ]
        for email, lookalike in cases:
            User.objects.filter(pk=self.ada.pk).update(email=email)
            self.assert_refused(self.come(email=lookalike))

    @tag("D16")
    def test_the_same_id_at_another_provider_is_somebody_else(self):
        self.come()
        self.client.logout()
        self.server = self.enterContext(identity_server())
        with override_settings(**company_settings(self.server)):
            self.assert_refused(self.come(email="mallory@example.org"))

    @tag("D16")
    def test_people_who_were_offboarded_do_not_come_back_with_the_account(self):
        self.come()
        self.client.logout()
        offboarding.offboard(self.ada, actor=create_superuser("root"))
        User.objects.filter(pk=self.ada.pk).update(
            is_active=True, email="successor@example.com"
        )
        set_role(self.acme, [self.ada], ADMIN)
        self.assert_refused(self.come())

    @tag("D16")
    def test_refuses_an_id_that_is_not_a_text(self):
        for subject in (None, ["1"], 5):
            with self.subTest(subject):
                self.assert_refused(self.come(sub=subject), FAILED)

    @tag("D16")
    def test_refuses_two_different_ids(self):
        with mock.patch("tests.identity.jwt.encode", encode_another_id):
            self.assert_refused(self.come(), FAILED)

    @tag("D16")
    def test_keeps_nothing_that_the_provider_says(self):
        response = self.come(name=5, phone_number="1", given_name="\0", sub="x" * 190)
        self.assertRedirects(response, "/admin/")
        self.assertEqual(SocialAccount.objects.get().extra_data, {})

    @tag("D16")
    def test_the_sign_in_page_says_if_something_went_wrong(self):
        self.assert_refused(self.come(code="bad"), FAILED)
        self.assert_refused(self.come_back(state="x", code="good"), FAILED)
        self.client.post(COMPANY_LOGIN)
        self.assert_refused(self.come_back(error="access_denied"), FAILED)

    @tag("D16")
    def test_says_that_the_provider_does_not_answer(self):
        self.server.shutdown()
        self.server.server_close()
        self.client.raise_request_exception = False
        self.assertContains(
            self.client.post(COMPANY_LOGIN),
            "the server that you sign in with",
            status_code=503,
        )

    @tag("D16")
    def test_does_not_link_the_account_to_whoever_is_signed_in(self):
        self.client.force_login(create_superuser("root"))
        response = self.come(start=f"{COMPANY_LOGIN}?process=connect")
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
        self.assertFalse(SocialAccount.objects.exists())

    @override_settings(SECOND_FACTOR="optional")
    @tag("D16")
    def test_asks_for_the_second_factor(self):
        self.come()
        secret, _codes = self.set_up()
        self.client.logout()
        self.assertRedirects(self.come(), ENTER_CODE)
        self.assertRedirects(self.enter_code(make_code(secret, 1)), "/admin/")

    @tag("D16")
    def test_the_sign_in_page_does_not_offer_it_when_there_is_no_provider(self):
        with override_settings(OIDC_SERVER=""):
            self.assertNotContains(self.client.get(LOGIN), "Sign in with")


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
