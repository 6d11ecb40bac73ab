"""The table in docs/company-sign-in.md: what people read, and what the log says.

Each test is a row of the table, and compares what happens with it.
"""

import re
import time
from dataclasses import replace
from html import unescape
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.test import Client, SimpleTestCase, override_settings, tag
from django.utils.html import strip_tags

from config.providers import GroupRole
from orgadmin.accounts.company.refusal_reasons import Reason, Step
from orgadmin.models import User
from orgadmin.people import invitations, offboarding
from tests.factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
)
from tests.identity import (
    CLIENT_SECRET,
    LEFT_OUT,
    Answer,
    company_settings,
    describe_provider,
    identity_server,
    leave,
    sign,
)
from tests.mailing import read_link, send_invitation
from tests.test_company import CALLBACK, SIGN_IN, CompanyCase, create_verified_user

PAGE = Path(settings.BASE_DIR, "docs/company-sign-in.md")
HEADING = "## All cases\n"
DISCOVERY = "/.well-known/openid-configuration"


def read_rows():
    """Return {name of the test: (what people read, what the log says)}."""
    table = PAGE.read_text().split(HEADING)[1]
    rows = {}
    for line in table.splitlines():
        if not line.startswith("| ") or line.startswith("| ---"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        _behaviour, _person, reads, log, test = cells
        if test != "test":
            rows[test.strip("`")] = reads, log
    return rows


def drop(handler):
    """Close the connection instead of answering."""
    handler.close_connection = True


def hang(_handler):
    time.sleep(0.5)


def describe(record):
    """Return a line of the log as the table has it."""
    if record.outcome != "refused":
        return f"`{record.levelname}` {record.outcome}"
    return f"`{record.levelname}` {record.reason} ({record.step})"


class CasesTests(CompanyCase):
    """Ada is an admin of Acme, and her address is verified on both sides."""

    def setUp(self):
        super().setUp()
        self.keep = create_superuser("keep")

    def use(self, **values):
        changes = company_settings(self.server, **values)
        self.enterContext(override_settings(**changes))

    def check(self, attempt=None, **claims):
        """Sign in, and compare the page and the log with the row of this test."""
        reads, log = read_rows()[self._testMethodName]
        with self.assertLogs("orgadmin.company", "INFO") as logs:
            response = attempt() if attempt else self.come(**claims)
            self.compare(response, reads)
        lines = [describe(row) for row in logs.records if hasattr(row, "outcome")]
        self.assertEqual(lines, [log])

    def compare(self, response, reads):
        page = self.client.get(response["Location"], follow=True)
        text = " ".join(unescape(strip_tags(page.content.decode())).split())
        for sentence in reads.split(" … "):
            self.assertIn(sentence.removesuffix(" …"), text)

    def answer(self, path, answer):
        self.server.answers = {path: answer}

    # The provider knows the person, and this site admits them.

    @tag("D16")
    def test_signs_in_for_the_first_time(self):
        self.check()

    @tag("D16")
    def test_signs_in_again(self):
        self.come()
        self.client.logout()
        self.check()

    @tag("D16")
    def test_the_address_has_changed(self):
        self.come()
        self.client.logout()
        self.check(email="married@example.com")

    @tag("D16")
    def test_the_address_is_no_longer_verified(self):
        self.come()
        self.client.logout()
        self.check(email_verified=False)

    @tag("D16")
    def test_asks_for_a_page(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/history/"
        self.check(lambda: self.come(start=f"{SIGN_IN}?next={page}"))

    @tag("D16")
    @override_settings(SECOND_FACTOR="optional")
    def test_has_a_second_factor_here(self):
        self.come()
        self.set_up()
        self.client.logout()
        self.check()

    @tag("D16")
    def test_belongs_to_no_organization(self):
        create_verified_user("nora", email="nora@example.com")
        self.check(sub="2", email="nora@example.com")

    @tag("D16")
    def test_someone_else_was_signed_in(self):
        self.client.force_login(self.keep)
        self.check()

    @tag("D39")
    def test_confirms_who_they_are(self):
        self.client.force_login(self.ada)
        self.check(auth_time=time.time())

    @tag("D16")
    def test_the_provider_reports_no_verification_and_is_trusted(self):
        self.use(trusts_email=True)
        self.check(email_verified=LEFT_OUT)

    @tag("D22")
    def test_signs_in_at_a_second_provider(self):
        self.come()
        self.client.logout()
        partner = describe_provider(self.server, id="partner", name="Partner")
        changes = {"OIDC_PROVIDERS": [describe_provider(self.server), partner]}
        self.enterContext(override_settings(**changes))
        start = "/admin/oidc/partner/login/"

        def attempt():
            response = self.visit(leave(self.client, start))
            return self.client.get(f"{start}callback/", response)

        self.check(attempt)

    # Groups

    def map_groups(self):
        create_organization("Mapped", reference="C-1")
        self.use(roles=(GroupRole("staff", "reviewer", "C-1"),))
        return create_verified_user("nora", email="nora@example.com")

    @tag("D60")
    def test_a_group_gives_a_role(self):
        self.map_groups()
        self.check(sub="2", email="nora@example.com", groups=["staff"])

    @tag("D60")
    def test_a_group_is_gone(self):
        self.map_groups()
        self.come(sub="2", email="nora@example.com", groups=["staff"])
        self.client.logout()
        self.check(sub="2", email="nora@example.com", groups=[])

    @tag("D60")
    def test_the_provider_sends_no_groups(self):
        self.map_groups()
        self.come(sub="2", email="nora@example.com", groups=["staff"])
        self.client.logout()
        self.check(sub="2", email="nora@example.com")

    # The provider knows the person, and this site does not admit them.

    @tag("D16")
    def test_has_no_account(self):
        self.check(sub="2", email="new@example.com")

    @tag("D16")
    def test_has_an_invitation(self):
        invitations.invite(self.acme, "new@example.com", REVIEWER, actor=self.ada)
        self.check(sub="2", email="new@example.com")

    def read_invitation(self):
        """Invite someone, and return the address in the link."""
        invitation = invitations.invite(
            self.acme, "new@example.com", REVIEWER, actor=self.ada
        )
        send_invitation(invitation)
        return read_link()

    @tag("D18")
    def test_accepts_an_invitation(self):
        start = f"{SIGN_IN}?next={self.read_invitation()}"
        self.check(lambda: self.come(start=start, sub="2", email="new@example.com"))

    @tag("D18")
    def test_opens_the_invitation_of_someone_else(self):
        start = f"{SIGN_IN}?next={self.read_invitation()}"
        self.check(lambda: self.come(start=start, sub="2", email="evil@example.com"))

    @tag("D16")
    def test_is_deactivated(self):
        create_verified_user("gone", email="gone@example.com", is_active=False)
        self.check(sub="2", email="gone@example.com")

    @tag("D16")
    def test_was_offboarded(self):
        self.come()
        self.client.logout()
        offboarding.offboard(self.ada, actor=self.keep, confirmed=[self.acme.pk])
        self.check()

    @tag("D23")
    def test_has_not_confirmed_the_address_here(self):
        create_user("new", email="new@example.com")
        self.check(sub="2", email="new@example.com")

    @tag("D22")
    def test_has_the_address_of_someone_else(self):
        self.come(sub="leaver")
        self.client.logout()
        self.check(sub="newcomer")

    @tag("D16")
    def test_has_an_address_that_looks_like_another(self):
        User.objects.filter(pk=self.ada.pk).update(email="kim@example.com")
        self.check(sub="2", email="\u212aim@example.com")

    @tag("D16")
    def test_has_no_address_there(self):
        self.check(email=LEFT_OUT)

    @tag("D16")
    def test_has_an_unverified_address_there(self):
        self.check(email_verified=False)

    @tag("D16")
    def test_the_provider_reports_no_verification(self):
        self.check(email_verified=LEFT_OUT)

    # The provider signs nobody in.

    def answer_with_error(self, error):
        self.server.response_changes = {"code": LEFT_OUT, "error": error}

    @tag("D24")
    def test_cancels(self):
        self.answer_with_error("access_denied")
        self.check()

    @tag("D24")
    def test_does_not_do_what_the_provider_asks_for(self):
        self.answer_with_error("interaction_required")
        self.check()

    @tag("D24")
    def test_the_provider_does_not_know_a_scope(self):
        self.answer_with_error("invalid_scope")
        self.check()

    @tag("D24")
    def test_the_provider_reports_an_error_of_its_own(self):
        self.answer_with_error("temporarily_unavailable")
        self.check()

    @tag("D39")
    def test_the_provider_does_not_ask_again(self):
        self.client.force_login(self.ada)
        self.check(auth_time=time.time() - 3600)

    # The provider does not work.

    @tag("D24")
    def test_the_provider_is_down(self):
        self.server.shutdown()
        self.server.server_close()
        self.check()

    @tag("D24")
    def test_the_certificate_is_not_trusted(self):
        # A server without TLS is the same error.
        server = self.server.address.replace("http://", "https://")
        provider = replace(describe_provider(self.server), server=server)
        self.enterContext(override_settings(OIDC_PROVIDERS=[provider]))
        self.check()

    @tag("D24")
    def test_the_provider_hangs(self):
        self.enterContext(mock.patch("orgadmin.accounts.company.openid.TIMEOUT", 0.2))
        self.answer("/token", hang)
        self.check()

    @tag("D24")
    def test_the_provider_closes_the_connection(self):
        self.answer("/token", drop)
        self.check()

    @tag("D24")
    def test_the_token_endpoint_fails(self):
        self.answer("/token", Answer("", 500))
        self.check()

    @tag("D24")
    def test_the_keys_cannot_be_read(self):
        self.answer("/jwks", Answer("", 503))
        self.check()

    @tag("D24")
    def test_the_user_info_cannot_be_read(self):
        self.answer("/userinfo", Answer("", 503))
        self.check()

    # The provider or the settings are wrong.

    @tag("D24")
    def test_the_url_is_a_web_page(self):
        self.answer(DISCOVERY, Answer("<html>"))
        self.check()

    @tag("D24")
    def test_the_url_does_not_exist(self):
        self.answer(DISCOVERY, Answer("", 404))
        self.check()

    @tag("D24")
    def test_the_issuer_is_another(self):
        self.server.discovery_changes = {"issuer": "https://id.example.com"}
        self.check()

    @tag("D24")
    def test_the_client_secret_is_wrong(self):
        self.use(client_secret="wrong")
        self.check()

    @tag("D24")
    def test_the_code_has_expired(self):
        self.answer("/token", Answer({"error": "invalid_grant"}, 400))
        self.check()

    @tag("D24")
    def test_the_response_names_another_issuer(self):
        self.server.response_changes = {"iss": "https://evil.example"}
        self.check()

    def change_token(self, **claims):
        self.server.token_changes = claims
        self.check()

    @tag("D24")
    def test_the_id_token_has_no_subject(self):
        self.change_token(sub=LEFT_OUT)

    @tag("D24")
    def test_the_id_token_is_for_another_client(self):
        self.change_token(aud="another")

    @tag("D24")
    def test_the_id_token_is_for_another_sign_in(self):
        self.change_token(nonce="another")

    @tag("D24")
    def test_the_id_token_is_from_another_issuer(self):
        self.change_token(iss="https://evil.example")

    @tag("D24")
    def test_the_clocks_differ(self):
        self.change_token(exp=time.time() - 90)

    @tag("D24")
    def test_the_id_token_lacks_a_claim(self):
        self.change_token(exp=LEFT_OUT)

    @tag("D24")
    def test_the_id_token_is_signed_with_the_client_secret(self):
        self.server.sign = lambda claims: sign(claims, CLIENT_SECRET, "HS256")
        self.check()

    @tag("D24")
    def test_the_user_info_is_about_another_person(self):
        self.server.userinfo_changes = {"sub": "2"}
        self.check()

    # The browser

    @tag("D24")
    def test_continues_in_another_browser(self):
        response = self.visit(leave(Client(), SIGN_IN))
        self.check(lambda: self.client.get(CALLBACK, response))

    @tag("D24")
    def test_comes_from_another_provider(self):
        partner = self.enterContext(identity_server())
        both = [
            describe_provider(self.server),
            describe_provider(partner, id="partner", name="Partner"),
        ]
        self.enterContext(override_settings(OIDC_PROVIDERS=both))
        response = self.visit(leave(self.client, SIGN_IN))
        page = "/admin/oidc/partner/login/callback/"
        self.check(lambda: self.client.get(page, response))


class TableTests(SimpleTestCase):
    def test_each_row_is_a_test_and_each_test_is_a_row(self):
        tests = {name for name in vars(CasesTests) if name.startswith("test_")}
        self.assertEqual(read_rows().keys(), tests)

    def test_has_each_reason_and_each_step(self):
        text = PAGE.read_text()
        for reason in Reason:
            self.assertIn(f"`{reason}`", text)
        log = " ".join(log for _reads, log in read_rows().values())
        for step in Step:
            self.assertIn(f"({step})", log)

    def test_the_texts_of_the_table_are_sentences(self):
        for reads, log in read_rows().values():
            self.assertTrue(reads)
            self.assertTrue(re.match(r"`(INFO|WARNING)` \w", log), log)
