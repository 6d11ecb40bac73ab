"""Signing in with a company account."""

import hmac
import json
import logging
import time
import warnings
from base64 import urlsafe_b64encode
from datetime import timedelta
from functools import partial
from hashlib import sha256
from unittest import mock
from urllib.parse import parse_qs, parse_qsl, urlsplit

import requests
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.core import mail
from django.test import (
    Client,
    TestCase,
    TransactionTestCase,
    override_settings,
    skipUnlessDBFeature,
    tag,
)
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, User
from orgadmin.people import offboarding
from tests.factories import (
    ADMIN,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.identity import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY_ID,
    LEFT_OUT,
    Answer,
    company_settings,
    describe_provider,
    identity_server,
    leave,
    make_key,
    publish,
    sign,
)
from tests.test_sign_in import ENTER_CODE, LOGIN, SignInCase, make_code
from tests.together import run_together

SIGN_IN = "/admin/oidc/company/login/"
CALLBACK = f"{SIGN_IN}callback/"

# What is different in each request to the provider.
SECRETS = ("state", "nonce", "code_challenge")

NO_ACCOUNT = "You do not have an account here"
UNREACHABLE = "did not respond"
FAILED = "Sign-in failed"
CANCELED = "did not sign you in: you canceled"
NO_EMAIL = "has no email address"
UNVERIFIED = "does not confirm that you receive mail at"


def create_verified_user(username, **values):
    """Create a user whose email address is verified."""
    user = create_user(username, **values)
    user.verify_email()
    return user


def keep_quiet(name):
    """Print nothing that a logger says."""
    return mock.patch.multiple(
        logging.getLogger(name), handlers=[logging.NullHandler()], propagate=False
    )


class CompanyCase(SignInCase):
    def setUp(self):
        self.enterContext(keep_quiet("orgadmin.company"))
        self.server = self.enterContext(identity_server())
        self.enterContext(override_settings(**company_settings(self.server)))
        self.acme = create_organization()
        self.ada = create_verified_user(
            "ada", admin_of=[self.acme], email="Ada@example.com"
        )

    def come(self, start=SIGN_IN, client=None, **claims):
        """Go to the provider, be known there as Ada, and return the answer here.

        `claims` are what the provider says differently about her.
        """
        client = client or self.client
        response = client.post(start)
        if "/departure/" not in response["Location"]:
            return response
        url = client.get(response["Location"]).context["onward_url"]
        return client.get(CALLBACK, self.visit(url, **claims))

    def visit(self, url, **claims):
        """Visit the provider, and return the parameters of its response."""
        self.server.person = {
            "sub": "1",
            "email": "ada@example.com",
            "email_verified": True,
            **claims,
        }
        response = requests.get(url, allow_redirects=False, timeout=5)
        return dict(parse_qsl(urlsplit(response.headers["Location"]).query))

    def assert_signed_in(self, response, user=None):
        self.assertRedirects(response, "/admin/", fetch_redirect_response=False)
        pk = self.client.session.get("_auth_user_id")
        self.assertEqual(pk, str((user or self.ada).pk))

    def assert_refused(self, response, text=NO_ACCOUNT, page=LOGIN):
        self.assertFalse(self.is_signed_in())
        self.assertRedirects(response, page, fetch_redirect_response=False)
        self.assertContains(self.client.get(page), text)

    def list_refusals(self):
        """Return [(key of the user, reason)] of the refusals in the audit log.

        The newest comes first.
        """
        events = AuditEvent.objects.filter(event=SecurityEvent.PROVIDER_REFUSED)
        return [(event.user_key, event.details["reason"]) for event in events]

    def assert_recorded(self, event, user, **details):
        [row] = AuditEvent.objects.filter(event=event)
        self.assertEqual(row.user_key, user.pk)
        self.assertEqual(row.details | details, row.details)
        return row


class CompanyTests(CompanyCase):
    @tag("D16")
    def test_the_sign_in_page_offers_it_beside_the_password(self):
        page = self.client.get(LOGIN)
        self.assertContains(page, "Sign in with Example")
        self.assertContains(page, 'name="password"')

    @tag("D16")
    def test_signs_in_people_by_their_confirmed_address_and_remembers_them(self):
        self.assert_signed_in(self.come())
        self.client.logout()
        self.assert_signed_in(self.come(email="married@example.com"))
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
            "orgadmin.models.user_queryset.UserQuerySet.find_by_email",
            return_value=read_before,
        ):
            self.assert_signed_in(self.come())
        self.ada.refresh_from_db()
        self.assertEqual(self.ada.first_name, "Changed")

    @tag("D16")
    def test_leads_to_the_page_that_was_asked_for_within_the_site(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        response = self.come(start=f"{SIGN_IN}?next={page}")
        self.assertRedirects(response, page)
        self.client.logout()
        with override_settings(ALLOWED_HOSTS=[".example", "testserver"]):
            response = self.come(start=f"{SIGN_IN}?next=https://evil.example/")
            self.assertRedirects(response, "/admin/")

    @tag("D16")
    def test_refuses_everyone_else_and_creates_no_account(self):
        gone = create_verified_user(
            "gone", email="gone@example.com", is_superuser=True, is_active=False
        )
        no_email = "no email address"
        cases = [
            ({"email": "new@example.com"}, NO_ACCOUNT, None, "no account"),
            ({"email": gone.email}, NO_ACCOUNT, gone.pk, "inactive account"),
            ({"email_verified": False}, UNVERIFIED, None, "unverified email address"),
            ({"email": None}, NO_EMAIL, None, no_email),
            ({"email": ""}, NO_EMAIL, None, no_email),
            ({"email": ["ada@example.com"]}, NO_EMAIL, None, no_email),
            ({"email": "ada@example.com\0"}, NO_EMAIL, None, no_email),
            ({"email": "ada\ud800@example.com"}, NO_EMAIL, None, no_email),
        ]
        for claims, text, user_key, reason in cases:
            with self.subTest(claims):
                self.assert_refused(self.come(**claims), text)
                self.assertEqual(User.objects.count(), 2)
                self.assertEqual(SocialAccount.objects.count(), 0)
                self.assertEqual(self.list_refusals()[0], (user_key, reason))

    @tag("D16")
    def test_tells_people_who_belong_to_no_organization(self):
        outsider = create_verified_user("outsider", email="out@example.com")
        response = self.come(sub="2", email=outsider.email)
        self.assertRedirects(response, "/admin/no-organization/")
        self.assertEqual(self.client.session["_auth_user_id"], str(outsider.pk))
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.assertRedirects(self.client.get(page), f"{LOGIN}?next={page}")

    @tag("D16")
    def test_tells_known_people_who_have_lost_their_access(self):
        self.come()
        self.client.logout()
        set_role(self.acme, [self.ada], None)
        self.assertRedirects(self.come(), "/admin/no-organization/")
        self.assertEqual(self.list_refusals(), [])

    @tag("D16")
    def test_refuses_known_people_who_are_deactivated(self):
        self.come()
        self.client.logout()
        User.objects.filter(pk=self.ada.pk).update(is_active=False)
        self.assert_refused(self.come())
        self.assertEqual(self.list_refusals(), [(self.ada.pk, "inactive account")])

    @tag("D16")
    def test_can_trust_a_provider_that_does_not_say_which_addresses_are_confirmed(self):
        self.assert_refused(self.come(email_verified=None), UNVERIFIED)
        with override_settings(**company_settings(self.server, trusts_email=True)):
            self.assert_signed_in(self.come(email_verified=None))

    @tag("D16")
    def test_refuses_an_address_that_even_a_trusted_provider_does_not_confirm(self):
        changes = company_settings(self.server, trusts_email=True)
        self.enterContext(override_settings(**changes))
        for unconfirmed in (False, "false", "0", 0):
            self.assert_refused(self.come(email_verified=unconfirmed), UNVERIFIED)

    @tag("D16")
    def test_letters_that_look_the_same_make_another_address(self):
        cases = [
            ("kim@example.com", "\u212aim@example.com"),
            ("steve@example.com", "\u017fteve@example.com"),
        ]
        for email, lookalike in cases:
            User.objects.filter(pk=self.ada.pk).update(email=email)
            User.objects.get(pk=self.ada.pk).verify_email()
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
        root = create_superuser("root")
        self.come()
        self.client.logout()
        offboarding.offboard(self.ada, actor=root, confirmed=[self.acme.pk])
        unlinked = self.assert_recorded(SecurityEvent.PROVIDER_UNLINKED, self.ada)
        self.assertEqual(unlinked.actor_key, root.pk)
        User.objects.filter(pk=self.ada.pk).update(
            is_active=True, email="successor@example.com"
        )
        set_role(self.acme, [self.ada], ADMIN)
        self.assert_refused(self.come())

    def test_the_hash_of_a_person_is_as_documented(self):
        """Operators compute it, as docs/company-sign-in.md says."""
        self.come(sub="an ID")
        text = f"{self.server.address}\nan ID"
        digest = sha256(text.encode()).hexdigest()
        self.assertEqual(SocialAccount.objects.get().uid, digest)

    @tag("D16")
    def test_keeps_nothing_that_the_provider_says(self):
        response = self.come(name=5, phone_number="1", given_name="\0", sub="x" * 190)
        self.assert_signed_in(response)
        link = SocialAccount.objects.get()
        self.assertEqual(link.extra_data, {"server": self.server.address})
        self.assertNotIn("x" * 190, link.uid)

    @tag("D16")
    def test_asks_for_no_link_to_whoever_is_signed_in(self):
        root = create_superuser("root")
        for process in ("connect", "redirect"):
            self.client.force_login(root)
            self.assert_signed_in(self.come(start=f"{SIGN_IN}?process={process}"))
            self.assertFalse(SocialAccount.objects.filter(user=root).exists())

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
        with override_settings(OIDC_PROVIDERS=[]):
            self.assertNotContains(self.client.get(LOGIN), "Sign in with")

    @tag("D16")
    def test_starts_with_a_form_only(self):
        for method in (self.client.get, self.client.head):
            self.assertEqual(method(SIGN_IN).status_code, 200)
        self.assertEqual(self.server.visits, [])


class TwoProvidersTests(CompanyCase):
    """Two servers that people can sign in with."""

    def setUp(self):
        super().setUp()
        self.partner = self.enterContext(identity_server())
        partner = describe_provider(self.partner, id="partner", name="Partner")
        both = [*settings.OIDC_PROVIDERS, partner]
        self.enterContext(override_settings(OIDC_PROVIDERS=both))

    @tag("D16")
    def test_the_sign_in_page_offers_both(self):
        page = self.client.get(LOGIN)
        for name, provider_id in (("Example", "company"), ("Partner", "partner")):
            self.assertContains(page, f"Sign in with {name}")
            self.assertContains(page, f'action="/admin/oidc/{provider_id}/login/"')

    @tag("D16")
    def test_each_leads_to_its_server_and_back(self):
        url = leave(self.client, "/admin/oidc/partner/login/")
        self.assertTrue(url.startswith(f"{self.partner.address}/authorization"))
        callback = "/admin/oidc/partner/login/callback/"
        sent = parse_qs(urlsplit(url).query)
        self.assertEqual(sent["redirect_uri"], [f"{settings.BASE_URL}{callback}"])
        self.server = self.partner
        self.assert_signed_in(self.client.get(callback, self.visit(url)))
        self.assertEqual(SocialAccount.objects.get().provider, "partner")

    @tag("D22")
    def test_one_account_can_have_a_person_at_each(self):
        self.assert_signed_in(self.come())
        self.client.logout()
        callback = "/admin/oidc/partner/login/callback/"
        self.server = self.partner
        url = leave(self.client, "/admin/oidc/partner/login/")
        self.assert_signed_in(self.client.get(callback, self.visit(url)))
        self.assertEqual(SocialAccount.objects.count(), 2)

    @tag("D24")
    def test_the_response_of_one_does_not_continue_a_sign_in_at_the_other(self):
        """A server must not get the code, and the secret, of another one."""
        response = self.visit(leave(self.client, SIGN_IN))
        callback = "/admin/oidc/partner/login/callback/"
        self.assert_refused(self.client.get(callback, response), FAILED)
        self.assertEqual(self.partner.visits, [])

    def test_there_are_no_others(self):
        for name in ("other", "openid_connect", "COMPANY"):
            page = f"/admin/oidc/{name}/login/"
            self.assertEqual(self.client.get(page).status_code, 404)
            self.assertEqual(self.client.get(f"{page}callback/").status_code, 404)


class LinkTests(CompanyCase):
    """Which account a person at the provider can use."""

    def set_verified(self, is_verified):
        """Make the address of the account verified or not, as an upgrade leaves it."""
        self.ada.refresh_from_db()
        self.ada.verified_email = self.ada.email if is_verified else ""
        self.ada.save()

    @tag("D22")
    def test_another_person_with_the_address_does_not_get_the_account(self):
        self.come(sub="leaver")
        self.client.logout()
        self.assert_refused(self.come(sub="newcomer"))
        self.assertEqual(SocialAccount.objects.count(), 1)
        event = self.assert_recorded(
            SecurityEvent.PROVIDER_REFUSED,
            self.ada,
            reason="other subject",
            provider="company",
        )
        self.assertNotIn("newcomer", json.dumps(event.details))
        self.assertRegex(event.details["subject"], r"\A[0-9a-f]{64}\Z")
        self.assert_signed_in(self.come(sub="leaver"))

    @tag("D22")
    def test_superusers_are_told_of_another_person_with_the_address(self):
        create_superuser("root", email="root@example.com")
        with self.captureOnCommitCallbacks(execute=True):
            self.come(sub="leaver")
        self.client.logout()
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            self.come(sub="newcomer")
        [message] = mail.outbox
        self.assertEqual(message.to, ["root@example.com"])
        self.assertIn("“ada”", message.body)

    @tag("D22")
    def test_the_account_is_not_told_from_one_that_does_not_exist(self):
        self.come(sub="leaver")
        self.client.logout()
        texts = set()
        for claims in ({"sub": "newcomer"}, {"sub": "3", "email": "no@example.com"}):
            response = self.come(**claims)
            text = self.client.get(LOGIN).context["problem"].text
            text = text.replace("no@example.com", "ada@example.com")
            texts.add((response["Location"], text))
        self.assertEqual(len(texts), 1)

    @tag("D22")
    def test_a_superuser_releases_the_account_to_the_next_person(self):
        root = create_superuser("root")
        self.assert_signed_in(self.come(sub="leaver"))
        page = f"/admin/orgadmin/user/{self.ada.pk}/company/"
        staff = Client()
        staff.force_login(root)
        self.assertContains(
            staff.get(page), f"Remove company account of {self.ada.label}"
        )
        data = {"account": SocialAccount.objects.get().pk}
        response = staff.post(page, data, follow=True)
        self.assertContains(response, "was removed")
        self.assertContains(response, "has not signed in with a company account yet")
        # The session of the person at the provider has ended.
        self.assertEqual(self.client.get("/admin/").status_code, 302)
        event = self.assert_recorded(SecurityEvent.PROVIDER_UNLINKED, self.ada)
        self.assertEqual(event.actor_key, root.pk)
        self.assert_signed_in(self.come(sub="newcomer"))
        self.client.logout()
        self.assert_refused(self.come(sub="leaver"))

    @tag("D22")
    def test_only_superusers_see_and_remove_it(self):
        self.come()
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        page = f"/admin/orgadmin/user/{self.ada.pk}/company/"
        for user in (self.ada, manager):
            self.client.force_login(user)
            for response in (self.client.get(page), self.client.post(page)):
                self.assertRedirects(response, "/admin/")
            self.client.post(page, {"account": SocialAccount.objects.get().pk})
            self.assertTrue(SocialAccount.objects.exists())

    @tag("D22")
    def test_links_from_before_the_upgrade_keep_the_account(self):
        self.come(sub="leaver")
        self.client.logout()
        SocialAccount.objects.update(extra_data={})
        self.assert_refused(self.come(sub="newcomer"))
        self.assert_signed_in(self.come(sub="leaver"))
        link = SocialAccount.objects.get()
        self.assertEqual(link.extra_data, {"server": self.server.address})

    @tag("D22")
    def test_people_find_their_account_after_the_site_changes_its_provider(self):
        self.come()
        self.client.logout()
        self.server = self.enterContext(identity_server())
        with override_settings(**company_settings(self.server)):
            self.assert_signed_in(self.come(sub="another scheme"))

    @tag("D22")
    def test_a_link_is_recorded_once(self):
        self.come()
        self.client.logout()
        self.come()
        event = self.assert_recorded(
            SecurityEvent.PROVIDER_LINKED, self.ada, provider="company"
        )
        self.assertEqual(event.actor_key, self.ada.pk)

    @tag("D22")
    def test_remembers_when_a_link_was_used(self):
        self.come()
        long_ago = timezone.now() - timedelta(days=9)
        SocialAccount.objects.update(last_login=long_ago)
        self.come()
        self.assertGreater(SocialAccount.objects.get().last_login, long_ago)

    @tag("D23")
    def test_an_address_that_nobody_verified_here_is_not_enough(self):
        self.set_verified(False)
        self.assert_refused(self.come())
        self.assertFalse(SocialAccount.objects.exists())
        self.assertEqual(self.list_refusals(), [(self.ada.pk, "unverified account")])
        self.set_verified(True)
        self.assert_signed_in(self.come())

    @tag("D23")
    def test_an_address_that_someone_else_entered_is_not_enough(self):
        boss = create_superuser("boss", email="boss@example.com")
        boss.verify_email()
        User.objects.filter(pk=boss.pk).update(email="old-boss@example.com")
        User.objects.filter(pk=self.ada.pk).update(email="boss@example.com")
        self.assert_refused(self.come(email="boss@example.com"))
        self.assertEqual(self.list_refusals(), [(self.ada.pk, "unverified account")])

    @tag("D23")
    def test_people_who_are_linked_already_need_no_verified_address(self):
        self.come()
        self.client.logout()
        self.set_verified(False)
        self.assert_signed_in(self.come())

    @tag("D23")
    def test_says_what_people_with_a_password_can_do(self):
        self.set_verified(False)
        self.assert_refused(self.come(), "sign in with it and confirm your email")

    @tag("D23")
    def test_the_id_token_outranks_the_user_info(self):
        other = "other@example.com"
        # (changes of the ID token, changes of the user info, is signed in)
        cases = [
            ({"email_verified": False}, {}, False),
            ({"email_verified": LEFT_OUT}, {}, True),
            ({"email_verified": LEFT_OUT}, {"email_verified": False}, False),
            ({}, {"email_verified": False}, True),
            ({}, {"email": other}, True),
            ({"email_verified": LEFT_OUT}, {"email": other}, False),
            ({"email": other}, {}, False),
            ({"email": LEFT_OUT}, {}, True),
            ({"email": LEFT_OUT, "email_verified": False}, {}, False),
            ({"email": LEFT_OUT, "email_verified": LEFT_OUT}, {}, True),
        ]
        for token_changes, userinfo_changes, is_signed_in in cases:
            with self.subTest(token=token_changes, userinfo=userinfo_changes):
                self.server.token_changes = token_changes
                self.server.userinfo_changes = userinfo_changes
                self.come()
                self.assertEqual(self.is_signed_in(), is_signed_in)
                self.client.logout()
                SocialAccount.objects.all().delete()


WRONG_URLS = (
    "ftp://evil.example/",
    "/x",
    "https://[",
    "https://evil.example/\nX-Header: 1",
    "https://evil.example/\ud800",
    "javascript:1",
    5,
)


def sign_with(**options):
    return lambda claims: sign(claims, **options)


def forge_with_public_key(claims):
    """Sign with HS256, and with the provider's public key as the secret."""
    pem = (
        make_key()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    text = join({"alg": "HS256", "kid": KEY_ID}, claims)
    signature = encode(hmac.digest(pem, text.encode(), "sha256"))
    return f"{text}.{signature}"


def leave_unsigned(claims):
    text = join({"alg": "none", "kid": KEY_ID}, claims)
    return f"{text}."


def join(header, claims):
    """Return the part of a token that is signed."""
    return ".".join(encode(json.dumps(part).encode()) for part in (header, claims))


def encode(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def replace_claims(claims):
    """Keep the signature of a token, but name another person in it."""
    header, _claims, signature = sign(claims).split(".")
    changed = json.dumps(claims | {"sub": "2"}).encode()
    return ".".join([header, encode(changed), signature])


def drop(handler):
    """Close the connection instead of answering."""
    handler.close_connection = True


def hang(handler):
    time.sleep(1)


class WrongAnswerTests(CompanyCase):
    """Errors of the provider, and why people are refused."""

    def assert_reason(self, reason, text=FAILED, *, is_audited=True, query=None):
        """Sign in, and require a refusal that is logged once, with its reason.

        `query` are changes of the response to the browser.
        """
        self.client.raise_request_exception = False
        before = self.list_refusals()
        with self.assertLogs("orgadmin.company", "INFO") as logs:
            response = self.come() if query is None else self.come_with(query)
            self.assert_refused(response, text)
        self.assertEqual([record.reason for record in logs.records], [reason])
        self.assertFalse(SocialAccount.objects.exists())
        expected = [(None, reason)] if is_audited else []
        self.assertEqual(self.list_refusals(), expected + before)

    def come_with(self, query):
        response = self.visit(leave(self.client, SIGN_IN))
        changed = response | query
        sent = {name: v for name, v in changed.items() if v is not LEFT_OUT}
        return self.client.get(CALLBACK, sent)

    def check(self, cases, apply, **options):
        """Try each (what the provider does, reason) in a test of its own."""
        for number, (behaviour, reason) in enumerate(cases):
            with self.subTest(number=number, behaviour=str(behaviour), reason=reason):
                apply(behaviour)
                self.assert_reason(reason, **options)
            self.forget()

    def setter(self, name):
        """Return a function that sets an attribute of the provider."""
        return partial(setattr, self.server, name)

    def forget(self):
        """Undo what a case has changed."""
        SocialAccount.objects.all().delete()
        self.client.logout()

    @tag("D24")
    def test_wrong_claims_in_the_id_token(self):
        now = time.time()
        cases = [
            ({"exp": now - 70}, "ID token not valid now"),
            ({"nbf": now + 70}, "ID token not valid now"),
            ({"iat": now + 70}, "ID token not valid now"),
            ({"exp": LEFT_OUT}, "invalid ID token"),
            ({"exp": "soon"}, "invalid ID token"),
            ({"exp": float("inf")}, "invalid ID token"),
            ({"iat": LEFT_OUT}, "invalid ID token"),
            ({"iat": []}, "invalid ID token"),
            ({"iss": "https://evil.example"}, "ID token of another issuer"),
            ({"iss": f"{self.server.address}/"}, "ID token of another issuer"),
            ({"iss": LEFT_OUT}, "invalid ID token"),
            ({"iss": [self.server.address]}, "ID token of another issuer"),
            ({"aud": "another"}, "ID token for another client"),
            ({"aud": [CLIENT_ID, "another"]}, "ID token for another client"),
            ({"aud": LEFT_OUT}, "invalid ID token"),
            ({"azp": "another"}, "ID token for another client"),
            (
                {"aud": [CLIENT_ID, "another"], "azp": "another"},
                "ID token for another client",
            ),
            ({"nonce": "another"}, "ID token of another sign-in"),
            ({"nonce": LEFT_OUT}, "ID token of another sign-in"),
            ({"nonce": 5}, "ID token of another sign-in"),
            ({"nonce": "é"}, "ID token of another sign-in"),
            ({"nonce": "\ud800"}, "ID token of another sign-in"),
            ({"sub": LEFT_OUT}, "no subject"),
            ({"sub": None}, "no subject"),
            ({"sub": ""}, "no subject"),
            ({"sub": 5}, "no subject"),
            ({"sub": ["1"]}, "no subject"),
            ({"sub": "\ud800"}, "no subject"),
        ]
        self.check(
            cases, lambda changes: setattr(self.server, "token_changes", changes)
        )

    @tag("D24")
    def test_clocks_that_differ_by_less_than_a_minute_are_fine(self):
        now = time.time()
        for changes in ({"exp": now - 30}, {"iat": now + 30}, {"nbf": now + 30}):
            self.server.token_changes = changes
            self.assert_signed_in(self.come())
            self.client.logout()

    @tag("D24")
    def test_accepts_a_token_for_several_clients_that_was_issued_to_this_site(self):
        audiences = [CLIENT_ID, "another"]
        self.server.token_changes = {"aud": audiences, "azp": CLIENT_ID}
        self.assert_signed_in(self.come())

    @tag("D24")
    def test_wrong_signatures_of_the_id_token(self):
        another = make_key("another")
        short = make_key("short", 1024)
        cases = [
            (sign_with(key=another), "wrong signature"),
            (sign_with(key=another, kid="unknown"), "wrong signature"),
            (sign_with(kid="unknown"), "wrong signature"),
            (leave_unsigned, "wrong signature"),
            (sign_with(key=CLIENT_SECRET, algorithm="HS256"), "wrong signature"),
            (forge_with_public_key, "wrong signature"),
            (replace_claims, "wrong signature"),
            (lambda claims: "a.b.c", "invalid ID token"),
            (lambda claims: "", "invalid ID token"),
            (lambda claims: "é", "invalid response"),
            (lambda claims: None, "invalid response"),
        ]
        self.check(cases[:-2], self.setter("sign"))
        self.check(cases[-2:], self.setter("sign"), is_audited=False)
        self.enterContext(warnings.catch_warnings(action="ignore"))
        self.server.sign = sign_with(key=short)
        self.server.keys = {"keys": [publish(short)]}
        self.assert_reason("invalid ID token")

    @tag("D24")
    def test_keys_that_do_not_fit(self):
        cases = [
            ({"keys": []}, "wrong signature"),
            ({"keys": "none"}, "wrong signature"),
            ({"keys": ["none", {}, {"kid": KEY_ID}]}, "wrong signature"),
            ({"keys": [{"kid": KEY_ID, "kty": "RSA", "n": 5}]}, "wrong signature"),
            ({"keys": [publish(make_key(), use="enc")]}, "wrong signature"),
            ({"keys": [publish(make_key(), alg="PS256")]}, "wrong signature"),
            ({}, "wrong signature"),
        ]
        self.check(cases, self.setter("keys"))

    @tag("D24")
    def test_accepts_the_second_of_two_keys_and_other_algorithms_for_key_pairs(self):
        self.server.keys = {
            "keys": [
                publish(make_key("another"), kid="second", alg="RS256"),
                publish(make_key()),
            ]
        }
        for algorithm in ("RS256", "PS512"):
            self.server.sign = sign_with(algorithm=algorithm)
            self.assert_signed_in(self.come())
            self.client.logout()

    @tag("D24")
    def test_user_info_about_another_person(self):
        cases = [
            ({"sub": "2"}, "user info of another subject"),
            ({"sub": None}, "user info of another subject"),
            ({"sub": LEFT_OUT}, "user info of another subject"),
            ({"sub": 1}, "user info of another subject"),
        ]
        self.check(cases, self.setter("userinfo_changes"))

    @tag("D24")
    def test_does_without_user_info(self):
        self.server.discovery_changes = {"userinfo_endpoint": LEFT_OUT}
        self.assert_signed_in(self.come())
        self.assertNotIn("/userinfo", self.server.visits)

    def answer(self, path, answer):
        self.server.answers = {path: answer}

    @tag("D24")
    def test_answers_that_are_not_what_they_should_be(self):
        paths = {
            "/.well-known/openid-configuration": "invalid discovery document",
            "/token": "token request refused",
            "/jwks": "invalid response",
            "/userinfo": "invalid response",
        }
        elsewhere = f"{self.server.address}/elsewhere"
        for path, reason in paths.items():
            cases = [
                (Answer("not found", 404), reason),
                (Answer({"error": "invalid_client"}, 401), reason),
                (Answer("", 302, Location=elsewhere), reason),
                (Answer("", 307, Location=elsewhere), reason),
                (Answer("<html>"), "invalid response"),
                (Answer(""), "invalid response"),
                (Answer(["a"]), "invalid response"),
                (Answer("[" * 100_000), "invalid response"),
            ]
            apply = lambda answer, path=path: self.answer(path, answer)  # noqa: E731
            self.check(cases, apply, is_audited=False)
            self.assertNotIn("/elsewhere", self.server.visits)

    @tag("D24")
    def test_a_provider_that_does_not_answer(self):
        self.enterContext(mock.patch("orgadmin.accounts.company.openid.TIMEOUT", 0.2))
        for path in (
            "/.well-known/openid-configuration",
            "/token",
            "/jwks",
            "/userinfo",
        ):
            cases = [
                (Answer("busy", 500), "provider unreachable"),
                (Answer("busy", 503), "provider unreachable"),
                (drop, "provider unreachable"),
                (hang, "provider unreachable"),
            ]
            apply = lambda answer, path=path: self.answer(path, answer)  # noqa: E731
            self.check(cases, apply, text=UNREACHABLE, is_audited=False)

    @tag("D24")
    def test_a_provider_that_is_not_there(self):
        self.server.shutdown()
        self.server.server_close()
        self.assert_reason("provider unreachable", UNREACHABLE, is_audited=False)

    @tag("D24")
    def test_wrong_discovery_documents(self):
        address = self.server.address
        another = "discovery document of another issuer"
        cases = [
            ({"issuer": "https://evil.example"}, another),
            ({"issuer": f"{address}/realms/other"}, another),
            ({"issuer": LEFT_OUT}, another),
            ({"issuer": [address]}, another),
        ]
        for name in (
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        ):
            for url in WRONG_URLS:
                cases.append(({name: url}, "invalid discovery document"))
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            cases.append(({name: LEFT_OUT}, "invalid discovery document"))
        self.check(cases, self.setter("discovery_changes"), is_audited=False)

    @tag("D24")
    def test_the_issuer_may_end_with_a_slash(self):
        issuer = f"{self.server.address}/"
        self.server.discovery_changes = {"issuer": issuer}
        self.server.token_changes = {"iss": issuer}
        self.assert_signed_in(self.come())

    @tag("D24")
    def test_responses_of_another_issuer(self):
        cases = [
            ({"iss": "https://evil.example"}, "response of another issuer"),
            ({"iss": f"{self.server.address}/"}, "response of another issuer"),
            ({"iss": ""}, "response of another issuer"),
            (
                {"iss": [self.server.address, "https://evil.example"]},
                "response of another issuer",
            ),
        ]
        for query, reason in cases:
            with self.subTest(query):
                self.assert_reason(reason, is_audited=False, query=query)
        self.server.discovery_changes = {
            "authorization_response_iss_parameter_supported": True
        }
        self.assert_reason(
            "response of another issuer", is_audited=False, query={"iss": LEFT_OUT}
        )

    @tag("D24")
    def test_accepts_responses_that_name_the_issuer(self):
        for is_announced in (False, True):
            self.server.discovery_changes = {
                "authorization_response_iss_parameter_supported": is_announced
            }
            self.server.response_changes = {"iss": self.server.address}
            self.assert_signed_in(self.come())
            self.client.logout()

    @tag("D24")
    def test_responses_without_a_valid_code_or_of_no_sign_in(self):
        refused = "refused by the provider"
        cases = [
            ({"code": "bad"}, FAILED, "token request refused"),
            ({"code": LEFT_OUT}, FAILED, "invalid response"),
            ({"code": ""}, FAILED, "invalid response"),
            ({"error": "access_denied"}, CANCELED, "canceled"),
            ({"error": "server_error"}, UNREACHABLE, refused),
            ({"error": "temporarily_unavailable"}, UNREACHABLE, refused),
            ({"error": "login_required"}, FAILED, refused),
            ({"error": ""}, FAILED, refused),
            ({"state": "another"}, FAILED, "not started here"),
            ({"state": ""}, FAILED, "not started here"),
            ({"state": LEFT_OUT}, FAILED, "not started here"),
        ]
        for query, text, reason in cases:
            with self.subTest(query):
                self.assert_reason(reason, text, is_audited=False, query=query)

    @tag("D24")
    def test_a_response_counts_once_and_in_one_browser(self):
        response = self.visit(leave(self.client, SIGN_IN))
        again = f"{LOGIN}?again=company"
        thief = Client()
        self.assertRedirects(
            thief.get(CALLBACK, response), again, fetch_redirect_response=False
        )
        self.assertNotIn("_auth_user_id", thief.session)
        self.assert_signed_in(self.client.get(CALLBACK, response))
        self.client.logout()
        self.assert_refused(self.client.get(CALLBACK, response), FAILED, again)

    @tag("D24")
    def test_the_code_of_another_sign_in(self):
        """The code of an attacker's sign-in does not sign in someone else as them."""
        attackers = self.visit(leave(Client(), SIGN_IN))
        query = {"code": attackers["code"]}
        self.assert_reason("token request refused", is_audited=False, query=query)

    @tag("D24")
    def test_a_sign_in_that_the_previous_release_has_started(self):
        self.client.post(SIGN_IN)
        session = self.client.session
        [[name, [state, *rest]]] = session["socialaccount_states"].items()
        del state["nonce"]
        session["socialaccount_states"] = {name: [state, *rest]}
        session.save()
        self.assert_refused(
            self.client.get(CALLBACK, {"state": name, "code": "x"}), FAILED
        )


class RequestTests(CompanyCase):
    """The site's requests to the provider do not depend on what the visitor sends."""

    # All that django-allauth reads, and all that a provider could be asked.
    PARAMETERS = {
        "action": "reauthenticate",
        "auth_params": (
            "client_id=evil&redirect_uri=https://evil.example&state=evil&scope=evil"
            "&nonce=evil&code_challenge=evil&prompt=none&request_uri=evil"
        ),
        "client_id": "evil",
        "code_challenge": "evil",
        "code_challenge_method": "plain",
        "headless": "1",
        "max_age": "0",
        "nonce": "evil",
        "process": "connect",
        "prompt": "none",
        "redirect_uri": "https://evil.example",
        "request": "evil",
        "request_uri": "https://evil.example",
        "response_mode": "query",
        "response_type": "token",
        "scope": "evil,offline_access",
        "state": "evil",
        "acr_values": "evil",
        "login_hint": "evil",
    }

    def start(self, query="", data=None, **extra):
        url = urlsplit(leave(self.client, f"{SIGN_IN}{query}", data, **extra))
        self.assertEqual(
            f"{url.scheme}://{url.netloc}{url.path}",
            f"{self.server.address}/authorization",
        )
        return parse_qs(url.query)

    def assert_usual(self, query):
        expected = {
            "response_type": ["code"],
            "scope": ["openid profile email"],
            "client_id": [CLIENT_ID],
            "redirect_uri": [f"{settings.BASE_URL}{CALLBACK}"],
            "code_challenge_method": ["S256"],
            "max_age": ["31536000"],
        }
        secrets = {
            name: query.pop(name) for name in ("state", "nonce", "code_challenge")
        }
        self.assertEqual(query, expected)
        for name, [value] in secrets.items():
            self.assertNotIn("evil", value)
            self.assertGreaterEqual(len(value), 16, name)

    @tag("D25")
    def test_parameters_of_the_visitor_change_nothing(self):
        for name, value in self.PARAMETERS.items():
            with self.subTest(name):
                self.assert_usual(
                    self.start(f"?{requests.compat.urlencode({name: value})}")
                )
                self.assert_usual(self.start(data={name: value}))

    @tag("D25")
    def test_the_host_that_the_visitor_names_changes_nothing(self):
        with override_settings(ALLOWED_HOSTS=["*"]):
            self.assert_usual(self.start(headers={"host": "evil.example"}))

    @tag("D25")
    def test_no_two_sign_ins_share_a_secret(self):
        first = self.start()
        second = self.start()
        for name in SECRETS:
            self.assertNotEqual(first[name], second[name])

    @tag("D25")
    def test_keeps_the_query_of_the_providers_page(self):
        self.server.discovery_changes = {
            "authorization_endpoint": f"{self.server.address}/authorization?policy=1"
        }
        query = self.start()
        self.assertEqual(query.pop("policy"), ["1"])
        self.assert_usual(query)

    @tag("D25")
    def test_sends_the_secret_in_a_header_if_the_provider_wants_it_there(self):
        headers = []

        def read(handler):
            headers.append(handler.headers["Authorization"])
            handler.answer({"error": "invalid_grant"}, 400)

        self.server.discovery_changes = {
            "token_endpoint_auth_methods_supported": ["client_secret_basic"]
        }
        self.server.answers = {"/token": read}
        self.assert_refused(self.come(), FAILED)
        encoded = requests.auth._basic_auth_str(
            CLIENT_ID, "hush%2C%20which%20no%20other%20client%20knows"
        )
        self.assertEqual(headers, [encoded])


@skipUnlessDBFeature("has_select_for_update")
class TwoAtOnceTests(TransactionTestCase):
    """Two sign-ins, or a sign-in and a removal, at the same time."""

    def setUp(self):
        self.ada = create_verified_user(
            "ada", admin_of=[create_organization()], email="ada@example.com"
        )

    def sign_in(self, subject):
        from orgadmin.accounts.company.views import Identity, SignInRefused, find_user

        identity = Identity(
            provider="company",
            server="https://id.example.com",
            subject=subject,
            email="ada@example.com",
            is_email_verified=True,
        )
        try:
            return find_user(identity).username
        except SignInRefused as refusal:
            return str(refusal.reason)

    @tag("D22")
    def test_two_people_with_one_address(self):
        for _round in range(5):
            SocialAccount.objects.all().delete()
            results = run_together(lambda: self.sign_in("1"), lambda: self.sign_in("2"))
            self.assertEqual(sorted(results), ["ada", "other subject"])
            self.assertEqual(SocialAccount.objects.count(), 1)

    @tag("D22")
    def test_one_person_in_two_browsers(self):
        for _round in range(5):
            SocialAccount.objects.all().delete()
            results = run_together(lambda: self.sign_in("1"), lambda: self.sign_in("1"))
            self.assertEqual(results, ["ada", "ada"])
            self.assertEqual(SocialAccount.objects.count(), 1)


class RemovedLinkTests(TestCase):
    @tag("D22")
    def test_a_sign_in_does_not_restore_a_link_that_is_removed_at_the_same_time(self):
        ada = create_verified_user(
            "ada", admin_of=[create_organization()], email="ada@example.com"
        )
        SocialAccount.objects.create(user=ada, provider="company", uid="1")
        from orgadmin.accounts.company import views as company

        def remove(*args):
            SocialAccount.objects.all().delete()

        identity = company.Identity("company", "https://id.example.com", "1", "", False)
        with mock.patch.object(company, "check_active", remove):
            company.find_user(identity)
        self.assertFalse(SocialAccount.objects.exists())
