import os
import re
import subprocess
import sys
import time
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import jwt
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag

from orgadmin.accounts import adapters, throttle
from orgadmin.models import SignInAttempt, User
from orgadmin.people import invitations, offboarding

from .factories import (
    ADMIN,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from .identity import identity_server

LOGIN, CODE, SET_UP = (
    "/admin/login/",
    "/admin/second-factor/authenticate/",
    "/admin/second-factor/totp/activate/",
)
COMPANY, REMOVE = "/admin/oidc/company/login/", "/admin/second-factor/totp/deactivate/"


def make_code(secret, later=0):
    """Return what an authenticator app shows, `later` steps of half a minute from now."""
    return auth.format_hotp_value(
        auth.hotp_value(secret, int(time.time()) // 30 + later)
    )


def company_settings(server):
    """Return the settings that name a server to sign in with."""
    app = {
        "provider_id": "company",
        "name": "Example",
        "client_id": "orgadmin",
        "secret": "hush",
    }
    app |= {"settings": {"server_url": server.address}}
    provider = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"] | {"APPS": [app]}
    named = {"OIDC_SERVER": server.address, "OIDC_NAME": "Example"}
    return named | {"SOCIALACCOUNT_PROVIDERS": {"openid_connect": provider}}


class SignInCase(TestCase):
    def sign_in(self, username="ada", password="secret", **extra):
        return self.client.post(
            LOGIN, {"username": username, "password": password}, **extra
        )

    def is_signed_in(self):
        return "_auth_user_id" in self.client.session

    def set_up(self):
        """Set up an app as the person who is signed in; return its secret and the recovery codes."""
        secret = re.search(
            r"<code>([A-Z2-7]+)</code>", self.client.get(SET_UP).content.decode()
        )[1]
        response = self.client.post(SET_UP, {"code": make_code(secret)}, follow=True)
        return secret, re.findall(
            r"<li><code>(\d{8})</code>", response.content.decode()
        )


@override_settings(SECOND_FACTOR="optional")
class SecondFactorTests(SignInCase):
    def setUp(self):
        self.acme = create_organization()
        self.ada = create_user("ada", admin_of=[self.acme])
        self.sign_in()
        self.secret, self.codes = self.set_up()
        self.client.post("/admin/logout/")

    @tag("D15")
    def test_signing_in_takes_the_code_of_the_app_after_the_password(self):
        self.assertEqual(len(self.codes), 10)
        self.assertRedirects(self.sign_in(), CODE)
        self.assertFalse(self.is_signed_in())
        self.assertRedirects(self.client.get("/admin/"), f"{LOGIN}?next=/admin/")
        self.assertContains(
            self.client.post(CODE, {"code": "000000"}), "Incorrect code."
        )
        self.assertFalse(self.is_signed_in())
        self.assertRedirects(
            self.client.post(CODE, {"code": make_code(self.secret, 1)}), "/admin/"
        )

    @tag("D15")
    def test_leads_on_to_the_page_that_was_asked_for(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.client.post(LOGIN, {"username": "ada", "password": "secret", "next": page})
        self.assertRedirects(
            self.client.post(CODE, {"code": make_code(self.secret, 1)}), page
        )

    @tag("D15")
    def test_the_code_without_the_password_is_nothing(self):
        self.assertRedirects(
            self.client.post(CODE, {"code": make_code(self.secret, 1)}), LOGIN
        )
        self.assertEqual(self.sign_in(password="wrong").status_code, 200)
        self.assertRedirects(
            self.client.post(CODE, {"code": make_code(self.secret, 1)}), LOGIN
        )

    @tag("D15")
    def test_a_code_counts_once_in_whichever_process(self):
        code = make_code(self.secret, 1)
        for expected in (True, False):
            self.sign_in()
            with mock.patch(
                "django.core.cache.cache.add", return_value=True
            ):  # what another process knows nothing of
                self.client.post(CODE, {"code": code})
            self.assertEqual(self.is_signed_in(), expected)
            self.client.logout()

    @tag("D15")
    def test_a_recovery_code_counts_once(self):
        for expected in (True, False):
            self.sign_in()
            self.client.post(CODE, {"code": self.codes[3]})
            self.assertEqual(self.is_signed_in(), expected)
            self.client.logout()

    @tag("D15")
    def test_guessing_ends_and_reads_like_a_wrong_code(self):
        self.sign_in()
        for _ in range(throttle.LIMIT):
            wrong = self.client.post(CODE, {"code": "000000"})
        right = self.client.post(CODE, {"code": make_code(self.secret, 1)})
        self.assertEqual(wrong.context["form"].errors, right.context["form"].errors)
        self.client.logout()
        self.sign_in(REMOTE_ADDR="192.0.2.1")  # it is the person's, not an address's
        self.client.post(
            CODE, {"code": make_code(self.secret, 1)}, REMOTE_ADDR="192.0.2.1"
        )
        self.assertFalse(self.is_signed_in())
        SignInAttempt.objects.all().delete()
        self.client.post(CODE, {"code": make_code(self.secret, 1)})
        self.assertTrue(self.is_signed_in())

    @tag("D15")
    def test_who_loses_the_right_meanwhile_is_refused(self):
        self.sign_in()
        set_role(self.acme, [self.ada], None)
        self.client.post(CODE, {"code": make_code(self.secret, 1)})
        self.assertFalse(self.is_signed_in())

    def age_session(self):
        session = self.client.session
        session["signed_in"] -= adapters.RECENT_SIGN_IN
        session.save()

    @tag("D15")
    def test_removing_it_asks_for_a_sign_in_of_now_and_then_the_password_is_enough(
        self,
    ):
        self.sign_in()
        self.client.post(CODE, {"code": make_code(self.secret, 1)})
        self.age_session()
        for response in (self.client.post(REMOVE), self.client.get(REMOVE)):
            self.assertEqual(
                response["Location"],
                f"{LOGIN}?next=%2Fadmin%2Fsecond-factor%2Ftotp%2Fdeactivate%2F",
            )
        again = self.client.get(response["Location"])
        self.assertContains(again, "sign in again")
        self.assertNotContains(again, "not authorized")
        self.assertTrue(Authenticator.objects.exists())
        self.assertRedirects(
            self.client.post(
                response["Location"], {"username": "ada", "password": "secret"}
            ),
            CODE,
        )
        self.assertRedirects(self.client.post(CODE, {"code": self.codes[0]}), REMOVE)
        self.client.post(REMOVE)
        self.client.logout()
        self.assertRedirects(self.sign_in(), "/admin/")
        self.assertFalse(Authenticator.objects.exists())

    @tag("D15")
    def test_a_sign_in_elsewhere_is_not_one_of_this_session(self):
        self.sign_in()
        self.client.post(CODE, {"code": make_code(self.secret, 1)})
        self.age_session()
        other = Client()
        other.post(LOGIN, {"username": "ada", "password": "secret"})
        other.post(CODE, {"code": self.codes[0]})
        self.assertEqual(other.get(REMOVE).status_code, 200)
        self.client.post(REMOVE)
        self.assertTrue(Authenticator.objects.exists())

    @tag("D15")
    def test_the_code_that_set_it_up_is_used_and_so_is_one_in_another_form(self):
        code, later = make_code(self.secret), make_code(self.secret, 1)
        for sent, expected in (
            (code, False),
            (later, True),
            (f"{later[:3]}-{later[3:]}", False),
        ):
            self.sign_in()
            with mock.patch("django.core.cache.cache.add", return_value=True):
                self.client.post(CODE, {"code": sent})
            self.assertEqual(self.is_signed_in(), expected)
            self.client.logout()

    @tag("D15")
    def test_new_recovery_codes_end_the_old_ones(self):
        self.sign_in()
        self.client.post(CODE, {"code": make_code(self.secret, 1)})
        response = self.client.post(
            "/admin/second-factor/recovery-codes/generate/", follow=True
        )
        self.assertNotContains(response, self.codes[0])
        self.assertContains(self.client.get("/admin/second-factor/"), "10 are left")
        self.assertEqual(
            len(
                self.client.get(
                    "/admin/second-factor/recovery-codes/download/"
                ).content.split()
            ),
            10,
        )

    @tag("D15")
    def test_an_invitation_is_no_way_around_it(self):
        self.ada.set_unusable_password()
        self.ada.email = "ada@example.com"
        self.ada.save()
        other = create_organization("Bolt")
        invitation = invitations.invite(
            other, self.ada.email, ADMIN, actor=create_superuser()
        )
        with mock.patch(
            "orgadmin.accounts.views.find_invitation", return_value=invitation
        ):
            new = {"new_password1": "correct horse", "new_password2": "correct horse"}
            self.assertRedirects(self.client.post("/admin/invitation/x/", new), CODE)
        self.assertFalse(self.is_signed_in())

    @tag("D15")
    def test_switched_off_it_is_neither_asked_for_nor_there(self):
        with override_settings(SECOND_FACTOR="off"):
            self.assertRedirects(self.sign_in(), "/admin/")
            self.assertNotContains(self.client.get("/admin/"), "Second factor")

    @tag("D15")
    def test_superusers_remove_that_of_who_lost_the_phone(self):
        self.client.force_login(create_superuser())
        data = {"action": "remove_second_factor", "_selected_action": [self.ada.pk]}
        self.assertContains(
            self.client.post("/admin/orgadmin/user/", data, follow=True),
            "password alone",
        )
        self.assertFalse(Authenticator.objects.exists())
        self.assertContains(
            self.client.get(f"/admin/orgadmin/user/{self.ada.pk}/history/"),
            "second factor",
        )
        Authenticator.objects.create(
            user=User.objects.get(username="root"), type="totp", data={}
        )
        own = {
            "action": "remove_second_factor",
            "_selected_action": [User.objects.get(username="root").pk],
        }
        with override_settings(SECOND_FACTOR="off"):  # else this session ends, too
            self.client.post("/admin/orgadmin/user/", own)
        self.assertEqual(
            Authenticator.objects.count(), 1
        )  # one's own takes a sign-in of now
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        self.client.force_login(manager)
        Authenticator.objects.create(user=self.ada, type="totp", data={})
        self.client.post("/admin/orgadmin/user/", data)
        self.assertEqual(Authenticator.objects.count(), 2)


@override_settings(SECOND_FACTOR="staff")
class RequiredFactorTests(SignInCase):
    @tag("D15")
    def test_platform_staff_set_one_up_before_anything_else(self):
        acme = create_organization()
        create_superuser("root")
        create_user("staff", is_staff=True)
        for username in ("root", "staff"):
            self.sign_in(username)
            for url in (
                "/admin/",
                f"/admin/orgadmin/organization/{acme.pk}/change/",
                "/admin/password_change/",
            ):
                self.assertRedirects(self.client.get(url), SET_UP)
            self.assertEqual(
                self.client.post("/admin/orgadmin/organization/add/", {"name": "X"})[
                    "Location"
                ],
                SET_UP,
            )
            self.set_up()
            self.assertEqual(self.client.get("/admin/").status_code, 200)
            self.client.post("/admin/logout/")

    @tag("D15")
    def test_a_session_of_before_ends_when_somebody_sets_theirs_up(self):
        create_superuser("root")
        thief = Client()
        thief.post(LOGIN, {"username": "root", "password": "secret"})
        self.assertEqual(thief.get(SET_UP).status_code, 200)
        self.sign_in("root")
        self.set_up()
        for url in ("/admin/second-factor/recovery-codes/", SET_UP, "/admin/"):
            self.assertEqual(thief.get(url).status_code, 302)
        self.assertNotIn("_auth_user_id", thief.session)
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    @tag("D15")
    def test_each_address_leads_there_and_signing_out_works(self):
        create_superuser("root")
        self.sign_in("root")
        for url in (
            "/admin/orgadmin/organization/1/",
            "/admin/nothing/",
            "/admin/jsi18n/",
            "/admin/second-factor/",
        ):
            self.assertRedirects(self.client.get(url), SET_UP)
        self.client.post("/admin/logout/")
        self.assertFalse(self.is_signed_in())

    @tag("D15")
    def test_who_removes_theirs_sets_up_another_before_anything_else(self):
        create_superuser("root")
        self.sign_in("root")
        self.set_up()
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        self.client.post(REMOVE)
        self.assertFalse(Authenticator.objects.exists())
        self.assertRedirects(self.client.get("/admin/"), SET_UP)

    @tag("D15")
    def test_recovery_codes_alone_are_none(self):
        root = create_superuser("root")
        Authenticator.objects.create(
            user=root, type="recovery_codes", data={"seed": "a" * 80, "used_mask": 0}
        )
        self.sign_in("root")
        self.assertRedirects(self.client.get("/admin/"), SET_UP)

    @tag("D15")
    def test_others_need_none(self):
        create_user("ada", admin_of=[create_organization()])
        self.assertRedirects(self.sign_in(), "/admin/")


class AddressTests(SignInCase):
    @tag("D7")
    def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(self):
        create_superuser("ada")
        for number in range(throttle.LIMIT):
            self.sign_in(
                password="wrong",
                HTTP_X_FORWARDED_FOR=f"203.0.113.{number}, 198.51.100.7",
            )
        with override_settings(TRUST_PROXY=True):
            self.sign_in(HTTP_X_FORWARDED_FOR="198.51.100.7")
            self.assertTrue(
                self.is_signed_in()
            )  # those came from the test client's own address
            self.client.logout()
            for number in range(throttle.LIMIT):
                self.sign_in(
                    password="wrong",
                    HTTP_X_FORWARDED_FOR=f"203.0.113.{number}, 198.51.100.7",
                )
            self.sign_in(HTTP_X_FORWARDED_FOR="198.51.100.7")
            self.assertFalse(self.is_signed_in())

    @tag("D7")
    def test_all_addresses_of_one_network_of_ipv6_are_one(self):
        create_superuser("ada")
        for number in range(throttle.LIMIT):
            self.sign_in(password="wrong", REMOTE_ADDR=f"2001:db8::{number}")
        self.sign_in(REMOTE_ADDR="2001:db8::ffff")
        self.assertFalse(self.is_signed_in())
        self.sign_in(REMOTE_ADDR="2001:db8:0:1::1")
        self.assertTrue(self.is_signed_in())

    @tag("D7")
    def test_ipv4_within_ipv6_is_ipv4_and_a_port_is_none_of_an_address(self):
        create_superuser("ada")
        for number in range(throttle.LIMIT):
            self.sign_in(password="wrong", REMOTE_ADDR="::ffff:203.0.113.7")
            self.sign_in(password="wrong", REMOTE_ADDR=f"203.0.113.8:{40_000 + number}")
        for address, expected in (
            ("203.0.113.7", False),
            ("203.0.113.8", False),
            ("::ffff:198.51.100.9", True),
        ):
            self.sign_in(REMOTE_ADDR=address)
            self.assertEqual(self.is_signed_in(), expected)


class IdentityTests(SignInCase):
    """Signing in with the company's server."""

    def setUp(self):
        self.server = self.enterContext(identity_server())
        changed = company_settings(self.server)
        self.providers = changed["SOCIALACCOUNT_PROVIDERS"]
        self.enterContext(override_settings(**changed))
        self.acme = create_organization()
        self.ada = create_user("ada", admin_of=[self.acme], email="Ada@example.com")

    def come(self, code="good", start=COMPANY, **person):
        """Go to the server, be known there as `person`, come back; return the answer."""
        self.server.person = {
            "sub": "1",
            "email": "ada@example.com",
            "email_verified": True,
        } | person
        to = urlsplit(self.client.post(start)["Location"])
        self.assertEqual(
            f"{to.scheme}://{to.netloc}{to.path}",
            f"{self.server.address}/authorization",
        )
        query = parse_qs(to.query)
        self.assertEqual(
            query["redirect_uri"], [f"http://testserver{COMPANY}callback/"]
        )
        self.assertIn("code_challenge", query)
        return self.client.get(
            f"{COMPANY}callback/", {"state": query["state"][0], "code": code}
        )

    def assert_refused(self, response, text="You do not have an account here"):
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
        self.assertContains(self.client.get(LOGIN), text)
        self.assertFalse(self.is_signed_in())

    @tag("D16")
    def test_the_sign_in_page_offers_it_beside_the_password(self):
        page = self.client.get(LOGIN)
        self.assertContains(page, "Sign in with Example")
        self.assertContains(page, 'name="password"')

    @tag("D16")
    def test_signs_in_who_has_a_confirmed_address_here_and_knows_them_from_then_on(
        self,
    ):
        self.assertRedirects(self.come(), "/admin/")
        self.assertEqual(self.client.session["_auth_user_id"], str(self.ada.pk))
        self.client.logout()
        self.assertRedirects(self.come(email="married@example.com"), "/admin/")
        self.ada.refresh_from_db()
        self.assertTrue(self.ada.check_password("secret"))  # it goes on to work
        self.assertEqual(User.objects.count(), 1)

    @tag("D16")
    def test_what_somebody_else_changes_of_the_person_meanwhile_stays(self):
        found = User.objects.find_by_email("ada@example.com")
        User.objects.filter(pk=self.ada.pk).update(first_name="Changed")
        with mock.patch(
            "orgadmin.models.querysets.UserQuerySet.find_by_email", return_value=found
        ):
            self.come()
        self.ada.refresh_from_db()
        self.assertEqual(self.ada.first_name, "Changed")

    @tag("D16")
    def test_leads_to_the_page_that_was_asked_for_within_the_site(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.assertRedirects(self.come(start=f"{COMPANY}?next={page}"), page)
        self.client.logout()
        with override_settings(ALLOWED_HOSTS=[".example", "testserver"]):
            self.assertRedirects(
                self.come(start=f"{COMPANY}?next=https://evil.example/"), "/admin/"
            )

    @tag("D16")
    def test_nobody_else_comes_in_and_nobody_is_created(self):
        outsider = create_user("outsider", email="out@example.com")
        create_user(
            "gone", email="gone@example.com", is_superuser=True, is_active=False
        )
        for person in (
            {"email": "new@example.com"},
            {"email": outsider.email},
            {"email": "gone@example.com"},
            {"email_verified": False},
            {"email": None},
            {"email": ""},
        ):
            with self.subTest(person):
                self.assert_refused(self.come(**person))
                self.assertEqual(
                    (User.objects.count(), SocialAccount.objects.count()), (3, 0)
                )

    @tag("D16")
    def test_who_lost_the_last_right_is_refused_though_known(self):
        self.come()
        self.client.logout()
        set_role(self.acme, [self.ada], None)
        self.assert_refused(self.come())

    @tag("D16")
    def test_a_server_that_does_not_say_may_be_trusted_unless_it_says_no(self):
        with override_settings(OIDC_TRUST_EMAIL=True):
            for no in (False, "false", "0", 0):
                self.assert_refused(self.come(email_verified=no))
            self.assertRedirects(self.come(email_verified=None), "/admin/")

    @tag("D16")
    def test_letters_that_look_alike_are_of_another_mailbox(self):
        for email, other in (
            ("kim@example.com", "\u212aim@example.com"),
            ("steve@example.com", "\u017fteve@example.com"),
        ):
            User.objects.filter(pk=self.ada.pk).update(email=email)
            self.assert_refused(self.come(email=other))

    @tag("D16")
    def test_the_same_key_at_another_server_is_somebody_else(self):
        self.come()
        self.client.logout()
        with (
            identity_server() as self.server,
            override_settings(**company_settings(self.server)),
        ):
            self.assert_refused(self.come(email="mallory@example.org"))

    @tag("D16")
    def test_who_was_dismissed_does_not_come_back_with_the_account(self):
        self.come()
        self.client.logout()
        offboarding.offboard(self.ada, actor=create_superuser("root"))
        User.objects.filter(pk=self.ada.pk).update(
            is_active=True, email="successor@example.com"
        )
        set_role(self.acme, [self.ada], ADMIN)
        self.assert_refused(self.come())

    @tag("D16")
    def test_odd_answers_are_refused_and_nothing_of_them_is_kept(self):
        for odd in ({"sub": None}, {"sub": ["1"]}, {"sub": 5}):
            with self.subTest(odd):
                self.assert_refused(self.come(**odd), "Sign-in failed")
        real = jwt.encode
        with mock.patch(
            "tests.identity.jwt.encode",
            lambda claims, key: real(claims | {"sub": "2"}, key),
        ):
            self.assert_refused(self.come(), "Sign-in failed")
        self.assertRedirects(
            self.come(name=5, phone_number="1", given_name="\0", sub="x" * 190),
            "/admin/",
        )
        self.assertEqual(SocialAccount.objects.get().extra_data, {})

    @tag("D16")
    def test_what_goes_wrong_there_is_said_on_the_sign_in_page(self):
        wrong = "Sign-in failed"
        self.assert_refused(self.come(code="bad"), wrong)
        self.assert_refused(
            self.client.get(f"{COMPANY}callback/", {"state": "x", "code": "good"}),
            wrong,
        )
        self.client.post(COMPANY)
        self.assert_refused(
            self.client.get(f"{COMPANY}callback/", {"error": "access_denied"}), wrong
        )

    @tag("D16")
    def test_a_server_that_is_away_is_said(self):
        self.server.shutdown()
        self.server.server_close()
        self.client.raise_request_exception = False
        self.assertContains(
            self.client.post(COMPANY),
            "the server that you sign in with",
            status_code=503,
        )

    @tag("D16")
    def test_an_account_there_is_linked_by_signing_in_only(self):
        self.client.force_login(create_superuser("root"))
        response = self.come(start=f"{COMPANY}?process=connect")
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
        self.assertFalse(SocialAccount.objects.exists())

    @override_settings(SECOND_FACTOR="optional")
    @tag("D16")
    def test_the_second_factor_is_asked_for_all_the_same(self):
        self.come()
        secret, _codes = self.set_up()
        self.client.logout()
        self.assertRedirects(self.come(), CODE)
        self.assertRedirects(
            self.client.post(CODE, {"code": make_code(secret, 1)}), "/admin/"
        )

    @tag("D16")
    def test_without_a_server_there_is_no_such_page(self):
        with override_settings(OIDC_SERVER=""):
            self.assertNotContains(self.client.get(LOGIN), "Sign in with")


class SwitchTests(SimpleTestCase):
    @tag("D15", "D16")
    def test_what_is_switched_off_has_no_address(self):
        names = "import django; django.setup(); from django.urls import get_resolver; names = get_resolver().reverse_dict;"
        company = {
            "OIDC_SERVER": "https://id.example.com",
            "OIDC_CLIENT_ID": "x",
            "OIDC_CLIENT_SECRET": "y",
        }
        off = {"SECOND_FACTOR": "off", "OIDC_SERVER": ""}
        for changed, there in (
            (off, (False, False)),
            (company | {"SECOND_FACTOR": "staff"}, (True, True)),
        ):
            environment = (
                os.environ
                | {"DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "true"}
                | changed
            )
            command = [
                sys.executable,
                "-c",
                f"{names} print('mfa_index' in names, 'openid_connect_login' in names)",
            ]
            printed = subprocess.check_output(
                command, env=environment, cwd=settings.BASE_DIR, text=True
            )
            self.assertEqual(printed, "{} {}\n".format(*there))
