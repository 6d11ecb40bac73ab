"""Signing out at the company's server as well, there or here first."""

import time
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client, override_settings, tag

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts.company.back_channel import EVENT
from orgadmin.models import UserSession
from tests.factories import create_user
from tests.identity import (
    CLIENT_ID,
    LEFT_OUT,
    change,
    describe_provider,
    identity_server,
    leave,
    make_key,
    sign,
)
from tests.test_company import (
    CompanyCase,
    forge_with_public_key,
    leave_unsigned,
    sign_with,
)
from tests.test_sign_in import ENTER_CODE, LOGIN, make_code

SIGN_OUT = "/admin/oidc/company/sign-out/"
SIGNED_OUT = "/admin/oidc/company/signed-out/"
BACK_CHANNEL = "/admin/oidc/company/back-channel-logout/"
BUTTON = "Sign out of Example"


class SignOutCase(CompanyCase):
    def setUp(self):
        super().setUp()
        self.server.discovery_changes = {
            "end_session_endpoint": f"{self.server.address}/end"
        }

    def sign_out(self):
        return self.client.post("/admin/logout/", follow=True)


class SignOutTests(SignOutCase):
    def test_people_who_used_a_company_account_are_asked(self):
        self.come()
        response = self.client.post("/admin/logout/")
        self.assertEqual(response["Clear-Site-Data"], '"cache"')
        self.assertRedirects(response, SIGNED_OUT)
        page = self.client.get(SIGNED_OUT)
        self.assertContains(page, "You are signed out")
        self.assertContains(page, BUTTON)
        self.assertFalse(self.is_signed_in())

    @override_settings(SECOND_FACTOR="optional")
    def test_people_with_a_second_factor_are_asked_as_well(self):
        self.come()
        secret, _codes = self.set_up()
        self.sign_out()
        self.come()
        self.enter_code(make_code(secret, 1))
        self.assertTrue(self.is_signed_in())
        self.assertContains(self.sign_out(), BUTTON)

    def test_others_are_not_asked(self):
        self.client.force_login(self.ada)
        self.assertNotContains(self.sign_out(), "Example")

    @tag("D72")
    def test_it_leads_to_the_provider_with_what_identifies_the_session_there(self):
        self.come()
        self.sign_out()
        url = urlsplit(leave(self.client, SIGN_OUT))
        self.assertEqual(url.path, "/end")
        query = {name: value for name, [value] in parse_qs(url.query).items()}
        self.assertEqual(query["client_id"], CLIENT_ID)
        self.assertEqual(
            query["post_logout_redirect_uri"], f"{settings.BASE_URL}{SIGNED_OUT}"
        )
        self.assertEqual(query["id_token_hint"].count("."), 2)
        page = self.client.get(SIGNED_OUT, {"state": query["state"]}, follow=True)
        self.assertContains(page, "signed out of this site and of Example")

    @tag("D72")
    def test_the_database_does_not_have_the_id_token(self):
        self.come()
        token = self.client.session["company"]["id_token"]
        self.assertTrue(token.startswith("fernet:"))
        self.sign_out()
        self.assertEqual(self.client.session["company_sign_out"]["id_token"], token)
        url = leave(self.client, SIGN_OUT)
        [token] = parse_qs(urlsplit(url).query)["id_token_hint"]
        self.assertNotIn(token, str(dict(self.client.session)))

    @tag("D72")
    def test_a_token_that_is_too_long_is_not_kept(self):
        self.come(groups=["g" * 5000])
        self.sign_out()
        url = leave(self.client, SIGN_OUT)
        self.assertIn(f"client_id={CLIENT_ID}", url)
        self.assertNotIn("id_token_hint", url)

    def test_a_provider_without_such_a_page(self):
        self.server.discovery_changes = {}
        self.come()
        page = self.sign_out()
        self.assertContains(page, "sign out there yourself")
        self.assertNotContains(page, BUTTON)

    def test_a_provider_that_does_not_respond(self):
        self.come()
        self.sign_out()
        self.server.shutdown()
        self.server.server_close()
        page = self.client.post(SIGN_OUT, follow=True)
        self.assertRedirects(page, LOGIN)
        self.assertContains(page, "Example cannot sign you out")

    @tag("D72")
    def test_nobody_else_is_led_anywhere(self):
        self.assertRedirects(self.client.post(SIGN_OUT), LOGIN)
        self.come()
        response = self.client.post(SIGN_OUT)
        self.assertRedirects(response, LOGIN, target_status_code=302)
        self.assertRedirects(self.client.get(SIGNED_OUT), "/admin/")
        self.assertTrue(self.is_signed_in())

    @tag("D72")
    def test_another_person_who_signs_in_has_nothing_of_it(self):
        self.come()
        self.sign_out()
        create_user("bob", reviewer_of=[self.acme])
        self.client.post(LOGIN, {"username": "bob", "password": "secret"})
        self.assertTrue(self.is_signed_in())
        self.assertNotIn("company_sign_out", self.client.session)

    @override_settings(OIDC_PROVIDERS=[])
    def test_a_provider_that_is_no_longer_in_the_settings(self):
        self.client.force_login(self.ada)
        session = self.client.session
        session["company"] = {"provider": "company", "can_sign_out": True}
        session.save()
        self.assertNotContains(self.sign_out(), "Example")


class BackChannelCase(SignOutCase):
    def setUp(self):
        super().setUp()
        self.come(sid="s1")
        self.assertTrue(self.is_signed_in())

    def report(self, sign=sign, page=BACK_CHANNEL, **changes):
        """Report a sign-out as the provider does, and return the status."""
        now = time.time()
        claims = {
            "iss": self.server.address,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": f"{now}",
            "sub": "1",
            "events": {EVENT: {}},
        }
        token = sign(change(claims, changes))
        client = Client(enforce_csrf_checks=True)
        response = client.post(page, {"logout_token": token})
        self.assertIn("no-store", response["Cache-Control"])
        return response.status_code

    def is_in(self, client=None):
        return (client or self.client).get("/admin/").status_code == 200


class BackChannelTests(BackChannelCase):
    @tag("D73")
    def test_ends_the_sessions_of_the_person(self):
        other = Client()
        self.come(client=other, sid="s2")
        self.assertEqual(self.report(), 200)
        self.assertFalse(self.is_in())
        self.assertFalse(self.is_in(other))
        self.assertFalse(UserSession.objects.exists())
        self.assertFalse(Session.objects.filter(pk=other.session.session_key).exists())

    @tag("D73")
    def test_with_the_id_of_a_session_it_ends_only_that(self):
        for claims in ({"sub": "1", "sid": "s2"}, {"sub": LEFT_OUT, "sid": "s2"}):
            with self.subTest(claims):
                other = Client()
                self.come(client=other, sid="s2")
                self.assertEqual(self.report(**claims), 200)
                self.assertTrue(self.is_in())
                self.assertFalse(self.is_in(other))

    @tag("D73", "D28")
    @override_settings(SECOND_FACTOR="optional")
    def test_ends_sign_ins_that_are_not_finished(self):
        _secret, codes = self.set_up()
        # (session there, what the report says, whether the sign-in continues)
        cases = [
            ("s1", {}, False),
            ("s1", {"sid": "s1"}, False),
            ("s1", {"sub": LEFT_OUT, "sid": "s1"}, False),
            (LEFT_OUT, {"sid": "s1"}, False),
            ("s1", {"sid": "s2"}, True),
            ("s1", {"sub": "2"}, True),
            (LEFT_OUT, {"sub": LEFT_OUT, "sid": "s2"}, True),
        ]
        for number, (sid, claims, goes_on) in enumerate(cases):
            with self.subTest(sid=sid, claims=claims):
                self.client.logout()
                self.assertRedirects(self.come(sid=sid), ENTER_CODE)
                self.assertEqual(self.report(**claims), 200)
                self.enter_code(codes[number])
                self.assertEqual(self.is_in(), goes_on)

    @tag("D73")
    def test_people_can_sign_in_again_at_once(self):
        self.report()
        self.come()
        self.assertTrue(self.is_in())

    @tag("D73")
    def test_leaves_sessions_that_began_in_another_way(self):
        by_password = Client()
        by_password.force_login(self.ada)
        self.assertEqual(self.report(), 200)
        self.assertTrue(self.is_in(by_password))

    @tag("D73")
    def test_leaves_other_people(self):
        self.assertEqual(self.report(sub="2"), 200)
        self.assertEqual(self.report(sub=LEFT_OUT, sid="s9"), 200)
        self.assertTrue(self.is_in())

    @tag("D73")
    def test_a_session_that_has_got_a_new_key_ends_as_well(self):
        session = self.client.session
        session.cycle_key()
        session.save()
        self.client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
        self.assertTrue(self.is_in())
        self.assertEqual(self.report(sub=LEFT_OUT, sid="s1"), 200)
        self.assertFalse(self.is_in())

    @tag("D31")
    def test_is_recorded(self):
        self.report()
        event = self.assert_recorded(
            SecurityEvent.SIGNED_OUT, self.ada, reason="signed out there"
        )
        self.assertEqual(event.details["provider"], "company")


class WrongTokenTests(BackChannelCase):
    def assert_refused(self, **options):
        self.assertEqual(self.report(**options), 400)
        self.assertTrue(self.is_in())

    @tag("D73")
    def test_wrong_claims(self):
        now = time.time()
        cases = [
            {"iss": "https://evil.example"},
            {"aud": "another"},
            {"exp": now - 120},
            {"exp": LEFT_OUT},
            {"iat": now + 120},
            {"iat": now - 3600},
            {"iat": LEFT_OUT},
            {"iat": str(int(now))},
            {"events": LEFT_OUT},
            {"events": {}},
            {"events": EVENT},
            {"events": {EVENT: "yes"}},
            {"events": {"https://evil.example": {}}},
            {"nonce": "x"},
            {"nonce": None},
            {"jti": LEFT_OUT},
            {"jti": 5},
            {"sub": LEFT_OUT},
            {"sub": 1},
            {"sub": "1", "sid": ["s1"]},
            {"sub": "\ud800"},
        ]
        for changes in cases:
            with self.subTest(changes):
                self.assert_refused(**changes)

    @tag("D73")
    def test_wrong_signatures(self):
        cases = [
            sign_with(key=make_key("another")),
            sign_with(kid="unknown"),
            leave_unsigned,
            forge_with_public_key,
            lambda claims: "",
            lambda claims: "a.b.c",
            lambda claims: "x" * 20_000,
        ]
        for number, signer in enumerate(cases):
            with self.subTest(number=number):
                self.assert_refused(sign=signer)

    @tag("D73")
    def test_an_id_token_is_no_logout_token(self):
        self.assert_refused(events=LEFT_OUT, nonce="x", jti=LEFT_OUT)

    @tag("D73")
    def test_a_token_counts_once(self):
        self.assertEqual(self.report(jti="once"), 200)
        self.come(sid="s1")
        self.assert_refused(jti="once")

    @tag("D73")
    def test_another_provider_does_not_use_up_a_token(self):
        with identity_server() as other:
            partner = describe_provider(other, id="partner", name="Partner")
            providers = [*settings.OIDC_PROVIDERS, partner]
            with override_settings(OIDC_PROVIDERS=providers):
                page = BACK_CHANNEL.replace("company", "partner")
                status = self.report(page=page, iss=other.address, jti="same")
                self.assertEqual(status, 200)
                self.assertTrue(self.is_in())
                self.assertEqual(self.report(jti="same"), 200)
        self.assertFalse(self.is_in())

    @tag("D73")
    def test_wrong_tokens_are_limited_and_right_ones_are_not(self):
        self.enterContext(mock.patch("orgadmin.accounts.throttle.ADDRESS_LIMIT", 3))
        for _number in range(5):
            self.assertEqual(self.report(sub="2"), 200)
        for _number in range(3):
            self.assertEqual(self.report(aud="another"), 400)
        visits = len(self.server.visits)
        self.assertEqual(self.report(sub="2"), 429)
        self.assertEqual(len(self.server.visits), visits)

    @tag("D73")
    def test_only_by_post_and_only_for_a_provider(self):
        self.assertEqual(self.client.get(BACK_CHANNEL).status_code, 405)
        other = BACK_CHANNEL.replace("company", "other")
        self.assertEqual(self.client.post(other).status_code, 404)
