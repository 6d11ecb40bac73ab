"""What the logs say of sign-ins with a company account."""

import json
import logging
from io import StringIO

from django.test import override_settings, tag

from orgadmin.accounts import throttle
from orgadmin.logs import LogFormatter
from tests.factories import create_superuser
from tests.identity import LEFT_OUT, Answer, leave
from tests.log_capture import lines_sent_to
from tests.test_company import (
    CALLBACK,
    SIGN_IN,
    CompanyCase,
    create_verified_user,
)

HASH = r"\A[0-9a-f]{64}\Z"


def refuse_to_answer(handler):
    handler.close_connection = True


class LogCase(CompanyCase):
    def split_off_link(self, attempt):
        """Return the only line of a function that tries to sign in, as JSON."""
        with self.assertLogs("orgadmin.company", "INFO") as logs:
            attempt()
        [record] = logs.records
        return json.loads(LogFormatter("%(levelname)s %(message)s").format(record))

    def assert_line(self, line, level, **values):
        self.assertEqual(line["levelname"], level)
        self.assertEqual({name: line.get(name) for name in values}, values)


class SuccessTests(LogCase):
    @tag("D61")
    def test_a_sign_in_names_the_person(self):
        line = self.split_off_link(self.come)
        self.assert_line(
            line,
            "INFO",
            message="company sign-in: signed in",
            outcome="signed in",
            provider="company",
            user_key=self.ada.pk,
            user=self.ada.pk,
        )
        self.assertRegex(line["subject"], HASH)
        self.assertEqual(self.split_off_link(self.come)["subject"], line["subject"])

    @tag("D61")
    def test_never_names_the_person_of_the_session_before(self):
        root = create_superuser("root")
        self.client.force_login(root)
        self.assertEqual(self.split_off_link(self.come)["user"], self.ada.pk)
        for claims in ({"email": "no@example.com", "sub": "2"}, {"sub": LEFT_OUT}):
            self.client.force_login(root)
            line = self.split_off_link(lambda claims=claims: self.come(**claims))
            self.assert_line(
                line, "INFO" if "email" in claims else "WARNING", user=None
            )

    @tag("D61")
    def test_the_line_of_the_request_names_who_signed_in(self):
        self.client.force_login(create_superuser("root"))
        output = StringIO()
        handler = logging.StreamHandler(output)
        handler.setFormatter(LogFormatter("%(message)s"))
        with lines_sent_to(handler, "orgadmin.requests"):
            response = self.visit(leave(self.client, SIGN_IN))
            self.client.get(CALLBACK, response)
        last = json.loads(output.getvalue().splitlines()[-1])
        self.assertEqual(last["user"], self.ada.pk)

    @override_settings(SECOND_FACTOR="optional")
    @tag("D61")
    def test_someone_with_a_second_factor_is_not_signed_in_yet(self):
        self.come()
        self.set_up()
        self.client.logout()
        line = self.split_off_link(self.come)
        self.assert_line(
            line,
            "INFO",
            outcome="asked for the second factor",
            user_key=self.ada.pk,
            user=None,
        )


class RefusalTests(LogCase):
    """One line for each attempt, with the step that failed."""

    def try_with(self, answers=None, **claims):
        self.server.answers = answers or {}
        return self.split_off_link(lambda: self.come(**claims))

    @tag("D61")
    def test_people_whom_the_site_does_not_admit(self):
        gone = create_verified_user("gone", email="gone@example.com", is_active=False)
        cases = [
            ({"email": "new@example.com"}, None, "no account"),
            ({"email": gone.email}, gone.pk, "inactive account"),
            ({"email_verified": False}, None, "unverified email address"),
            ({"email": LEFT_OUT}, None, "no email address"),
        ]
        for claims, user_key, reason in cases:
            with self.subTest(reason):
                line = self.try_with(**claims)
                self.assert_line(
                    line,
                    "INFO",
                    outcome="refused",
                    reason=reason,
                    step="account",
                    provider="company",
                    user_key=user_key,
                    user=None,
                )
                self.assertRegex(line["subject"], HASH)

    @tag("D61")
    def test_what_the_operators_have_to_repair(self):
        discovery = "/.well-known/openid-configuration"
        another = Answer({"sub": "another"})
        client = Answer({"error": "invalid_client"}, 401)
        cases = [
            (discovery, Answer("<html>"), "invalid response", "discovery"),
            (discovery, Answer("", 404), "invalid discovery document", "discovery"),
            (discovery, refuse_to_answer, "provider unreachable", "discovery"),
            ("/token", client, "token request refused", "token request"),
            ("/token", Answer("", 500), "provider unreachable", "token request"),
            ("/jwks", Answer("", 500), "provider unreachable", "keys"),
            ("/jwks", Answer({"keys": []}), "wrong signature", "ID token"),
            ("/userinfo", Answer("", 503), "provider unreachable", "user info"),
            ("/userinfo", another, "user info of another subject", "user info"),
        ]
        for path, answer, reason, step in cases:
            with self.subTest(path=path, reason=reason):
                line = self.try_with({path: answer})
                self.assert_line(
                    line, "WARNING", outcome="refused", reason=reason, step=step
                )
        self.assert_line(
            self.try_with(sub=LEFT_OUT), "WARNING", reason="no subject", step="ID token"
        )

    @tag("D61")
    def test_what_concerns_a_single_attempt(self):
        expired = Answer({"error": "invalid_grant"}, 400)
        line = self.try_with({"/token": expired})
        self.assert_line(
            line,
            "INFO",
            reason="token request refused",
            detail="HTTP 400 invalid_grant",
        )

    @tag("D61")
    def test_what_the_provider_says_in_the_browser(self):
        cases = [
            ("access_denied", "INFO", "canceled", None),
            ("login_required", "INFO", "refused by the provider", "login_required"),
            ("invalid_scope", "WARNING", "refused by the provider", "invalid_scope"),
            ("ada@example.com", "WARNING", "refused by the provider", None),
        ]
        for error, level, reason, detail in cases:
            with self.subTest(error):
                self.server.response_changes = {"code": LEFT_OUT, "error": error}
                line = self.try_with()
                self.assert_line(
                    line,
                    level,
                    reason=reason,
                    step="response to the browser",
                    detail=detail,
                )
                self.assertNotIn("ada@", json.dumps(line))

    @tag("D61")
    def test_nobody_fills_the_audit_log(self):
        for _number in range(throttle.LIMIT + 2):
            line = self.try_with(email="new@example.com", sub="2")
            self.assert_line(line, "INFO", reason="no account")
        self.assertEqual(len(self.list_refusals()), throttle.LIMIT)
        self.try_with(email="new@example.com", sub="3")
        self.try_with(email=None, sub="2")
        self.assertEqual(len(self.list_refusals()), throttle.LIMIT + 2)

    @tag("D61")
    def test_a_response_that_nobody_waits_for(self):
        line = self.split_off_link(lambda: self.client.get(CALLBACK, {"state": "x"}))
        self.assert_line(
            line, "INFO", reason="not started here", step="response to the browser"
        )

    @tag("D61")
    def test_has_the_id_of_the_request(self):
        ids = []

        class Keep(logging.Handler):
            def emit(self, record):
                entry = json.loads(LogFormatter("%(message)s").format(record))
                ids.append(entry["request"])

        with lines_sent_to(Keep(), "orgadmin.company"):
            response = self.client.get(CALLBACK, {"state": "x"})
        self.assertEqual(ids, [response["X-Request-ID"]])
