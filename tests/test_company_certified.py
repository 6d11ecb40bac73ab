"""Signing in with a certified OpenID provider, if there is one on this machine.

Unlike the provider of tests/identity.py, it does nothing wrong, but everything that the
standards ask for: claims in the user info only, the issuer in each response, sessions.
"""

import re
from io import StringIO
from unittest import skipUnless
from urllib.parse import parse_qsl, urlsplit

import requests
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings, tag

from config.providers import GroupRole
from orgadmin.people import membership
from tests.certified import CALLBACK as REDIRECT_URI, certified_provider, is_installed
from tests.factories import REVIEWER, create_organization, create_user
from tests.identity import (
    CLIENT_ID,
    CLIENT_SECRET,
    company_settings,
    leave,
)
from tests.test_company import CALLBACK, SIGN_IN, create_verified_user, keep_quiet
from tests.test_sign_in import ENTER_CODE, SignInCase, make_code

SIGN_OUT = "/admin/oidc/company/sign-out/"
SIGNED_OUT = f"{settings.BASE_URL}/admin/oidc/company/signed-out/"

ADA = {"email": "ada@example.com", "email_verified": True}


@skipUnless(is_installed(), "needs Node.js, and npm ci in tests/oidc_provider")
class CertifiedTests(SignInCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        provider = certified_provider(CLIENT_ID, CLIENT_SECRET)
        cls.provider = cls.enterClassContext(provider)

    def setUp(self):
        self.enterContext(keep_quiet("orgadmin.company"))
        self.use()
        self.acme = create_organization(reference="C-1")
        self.ada = create_verified_user(
            "ada", admin_of=[self.acme], email="ada@example.com"
        )
        self.provider.be("1", **ADA)
        self.browser = requests.Session()

    def use(self, **values):
        changes = company_settings(self.provider, **values)
        self.enterContext(override_settings(**changes))

    def come(self):
        """Go to the provider in a browser, and come back."""
        url = leave(self.client, SIGN_IN)
        while not url.startswith(REDIRECT_URI):
            response = self.browser.get(url, allow_redirects=False, timeout=10)
            self.assertIn(response.status_code, (302, 303), response.text)
            url = requests.compat.urljoin(url, response.headers["Location"])
        query = dict(parse_qsl(urlsplit(url).query))
        return self.client.get(CALLBACK, query)

    def assert_reason(self, reason):
        with self.assertLogs("orgadmin.company", "INFO") as logs:
            self.come()
        self.assertEqual([record.reason for record in logs.records], [reason])
        self.assertFalse(self.is_signed_in())

    @tag("D16", "D24")
    def test_signs_in_and_remembers_the_person(self):
        self.assertRedirects(self.come(), "/admin/")
        self.client.logout()
        self.provider.be("1", email="married@example.com", email_verified=True)
        self.assertRedirects(self.come(), "/admin/")
        self.assertEqual(SocialAccount.objects.count(), 1)

    @tag("D16")
    def test_an_unverified_or_missing_address(self):
        for claims, reason in (
            ({**ADA, "email_verified": False}, "unverified email address"),
            ({}, "no email address"),
            ({**ADA, "email": "no@example.com"}, "no account"),
        ):
            self.provider.be("1", **claims)
            self.assert_reason(reason)

    @tag("D22")
    def test_another_person_with_the_address(self):
        self.come()
        self.client.logout()
        self.browser = requests.Session()
        self.provider.be("2", **ADA)
        self.assert_reason("other subject")

    @tag("D24")
    def test_someone_who_cancels(self):
        self.provider.cancel()
        self.assert_reason("canceled")

    @tag("D24")
    def test_a_wrong_client_secret(self):
        self.use(client_secret="wrong")
        self.assert_reason("token request refused")

    @tag("D60")
    def test_groups(self):
        create_user("keeper", admin_of=[self.acme])
        nora = create_verified_user("nora", email="nora@example.com")
        roles = (GroupRole("staff", "reviewer", "C-1"),)
        self.use(scopes=("groups",), roles=roles)
        email = {"email": "nora@example.com", "email_verified": True}
        for groups, role in ((["staff", "x"], REVIEWER), (["x"], None)):
            self.provider.be("3", **email, groups=groups)
            self.come()
            self.assertEqual(membership.find_role(self.acme, nora), role)
            self.client.logout()

    @tag("D16")
    @override_settings(SECOND_FACTOR="optional")
    def test_someone_with_a_second_factor_here(self):
        self.come()
        secret, _codes = self.set_up()
        self.client.logout()
        self.assertRedirects(self.come(), ENTER_CODE)
        self.assertRedirects(self.enter_code(make_code(secret, 1)), "/admin/")

    @tag("D39")
    def test_asks_again_to_confirm_who_someone_is(self):
        self.come()
        with self.assertLogs("orgadmin.company", "INFO") as logs:
            self.come()
        self.assertEqual([record.outcome for record in logs.records], ["signed in"])

    @tag("D39")
    def test_says_when_it_last_asked_so_signing_out_first_does_not_help(self):
        self.come()
        asked = self.client.session["asked"]
        self.client.logout()
        self.come()
        self.assertEqual(self.client.session["asked"], asked)

    @tag("D72")
    def test_signs_people_out_there_as_well(self):
        self.come()
        self.client.post("/admin/logout/")
        page = self.browser.get(leave(self.client, SIGN_OUT), timeout=10)
        action, secret = re.search(
            r'action="([^"]+)".*name="xsrf" value="([^"]+)"', page.text, re.DOTALL
        ).groups()
        answer = {"xsrf": secret, "logout": "yes"}
        response = self.browser.post(action, answer, allow_redirects=False, timeout=10)
        back = response.headers["Location"]
        self.assertRegex(back, rf"\A{re.escape(SIGNED_OUT)}\?state=")
        response = self.client.get(back.removeprefix(settings.BASE_URL), follow=True)
        self.assertContains(response, "signed out of this site and of Example")

    def test_the_doctor_finds_nothing(self):
        output = StringIO()
        call_command("doctor", "--providers", stdout=output)
        lines = output.getvalue().splitlines()
        self.assertEqual([line for line in lines if not line.startswith("ok: ")], [])
        self.use(client_secret="wrong")
        with self.assertRaises(SystemExit):
            call_command("doctor", "--providers", stdout=output)
        self.assertIn("error: company: client credentials:", output.getvalue())

    def test_the_doctor_notices_an_unknown_redirect_uri(self):
        output = StringIO()
        with override_settings(BASE_URL="http://127.0.0.1:9"):
            call_command("doctor", "--providers", stdout=output)
        self.assertIn("note: company: authorization endpoint:", output.getvalue())
