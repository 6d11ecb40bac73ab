"""What `doctor --providers` says about OpenID providers."""

import os
import ssl
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from io import StringIO
from ipaddress import ip_address
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.core.management import call_command
from django.test import SimpleTestCase, override_settings

from config.providers import GroupRole
from tests.identity import (
    LEFT_OUT,
    Answer,
    company_settings,
    describe_provider,
    identity_server,
    make_key,
    publish,
)

DISCOVERY = "/.well-known/openid-configuration"
CALLBACK = "/admin/oidc/company/login/callback/"


def run():
    """Return the exit status and the lines of the command."""
    output = StringIO()
    status = 0
    try:
        call_command("doctor", "--providers", stdout=output)
    except SystemExit as error:
        status = error.code
    return status, output.getvalue().splitlines()


def make_certificate(key):
    """Return a certificate for this machine, signed with its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), False)
    return builder.sign(key, hashes.SHA256())


@contextmanager
def use_tls(server):
    """Make a server use TLS. Yields the path of its certificate."""
    key = make_key()
    certificate = make_certificate(key).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + private)
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.name)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.address = server.address.replace("http://", "https://")
        yield file.name


class ProviderCheckTests(SimpleTestCase):
    def setUp(self):
        self.server = self.enterContext(identity_server())
        self.use()

    def use(self, **values):
        changes = company_settings(self.server, **values)
        self.enterContext(override_settings(**changes))

    def assert_found(self, line, status=1):
        found, lines = run()
        self.assertEqual(found, status, lines)
        self.assertIn(line, lines)

    def test_everything_is_in_order(self):
        address = self.server.address
        callback = f"{settings.BASE_URL}{CALLBACK}"
        status, lines = run()
        # Servers say the time without fractions of a second.
        self.assertRegex(lines.pop(1), r"\Aok: company: clock: .* by [012] seconds\Z")
        self.assertEqual(
            lines,
            [
                f"ok: company: discovery: the issuer is {address}",
                "ok: company: keys: usable keys: 1",
                f"ok: company: authorization endpoint: the provider redirects back to"
                f" {callback}",
                "ok: company: client credentials: the provider accepts them",
                "ok: company: user info endpoint: the provider requires a token",
            ],
        )
        self.assertEqual(status, 0)

    def test_there_is_none(self):
        with override_settings(OIDC_PROVIDERS=[]):
            self.assertEqual(run(), (0, ["The settings have no OpenID provider."]))

    def test_examines_all(self):
        broken = describe_provider(self.server, id="partner", client_secret="wrong")
        both = [broken, describe_provider(self.server)]
        with override_settings(OIDC_PROVIDERS=both):
            status, lines = run()
        self.assertEqual(status, 1)
        self.assertIn("error: partner: client credentials", "\n".join(lines))
        self.assertIn("ok: company: client credentials", "\n".join(lines))

    def test_a_provider_that_is_not_there(self):
        self.server.shutdown()
        self.server.server_close()
        status, [line] = run()
        self.assertEqual(status, 1)
        self.assertRegex(line, r"\Aerror: company: discovery: provider unreachable")
        self.assertIn("(ConnectionError)", line)

    def test_a_certificate_that_is_not_trusted(self):
        bundle = self.enterContext(use_tls(self.server))
        self.use()
        status, [line] = run()
        self.assertEqual(status, 1)
        self.assertIn("(SSLError)", line)
        self.assertIn("REQUESTS_CA_BUNDLE", line)
        with mock.patch.dict(os.environ, REQUESTS_CA_BUNDLE=bundle):
            status, lines = run()
        self.assertEqual(status, 0, lines)

    def test_another_issuer(self):
        self.server.discovery_changes = {"issuer": "https://id.example.com"}
        self.assert_found(
            "error: company: discovery: discovery document of another issuer"
            " (https://id.example.com); set the server in the settings to this issuer"
        )

    def test_a_page_instead_of_a_document(self):
        self.server.answers = {DISCOVERY: Answer("<html>")}
        self.assert_found(
            "error: company: discovery: invalid response (no JSON); check the URL in"
            " the settings"
        )

    def test_clocks_that_differ(self):
        def answer(handler):
            handler.date_time_string = lambda: formatdate(time.time() - 90, usegmt=True)
            handler.describe()

        self.server.answers = {DISCOVERY: answer}
        _status, lines = run()
        self.assertRegex(
            lines[1], r"\Aerror: company: clock: the clocks differ by (89|9\d)"
        )

    def test_a_provider_that_does_not_say_its_time(self):
        def answer(handler):
            handler.date_time_string = lambda: "soon"
            handler.describe()

        self.server.answers = {DISCOVERY: answer}
        text = "the provider does not send its time"
        self.assert_found(f"note: company: clock: {text}", status=0)

    def test_what_a_provider_cannot_do(self):
        cases = {
            "response_types_supported": ["token"],
            "code_challenge_methods_supported": ["plain"],
            "id_token_signing_alg_values_supported": ["HS256", "none"],
        }
        for name, value in cases.items():
            with self.subTest(name):
                self.server.discovery_changes = {name: value}
                _status, lines = run()
                self.assertIn(
                    f"error: company: abilities: {name} must", "\n".join(lines)
                )

    def test_scopes_and_claims_that_a_provider_does_not_list(self):
        self.use(scopes=("groups",), roles=(GroupRole("a", "admin", "C-1"),))
        self.server.discovery_changes = {
            "scopes_supported": ["openid", "email"],
            "claims_supported": ["sub", "email"],
        }
        status, lines = run()
        self.assertEqual(status, 0)
        notes = [line for line in lines if line.startswith("note:")]
        prefix = "note: company: abilities: the provider does not list the"
        self.assertEqual(
            notes,
            [
                f"{prefix} scope groups",
                f"{prefix} claim auth_time",
                f"{prefix} claim email_verified",
                f"{prefix} claim groups",
            ],
        )

    def test_keys_that_do_not_fit(self):
        text = "error: company: keys: the provider publishes no key that can sign"
        for keys in ({"keys": []}, {"keys": [publish(make_key(), use="enc")]}, {}):
            with self.subTest(keys):
                self.server.keys = keys
                self.assert_found(f"{text} ID tokens")
        self.server.answers = {"/jwks": Answer("", 404)}
        self.assert_found("error: company: keys: invalid response (HTTP 404)")

    def test_a_redirect_uri_that_the_provider_does_not_know(self):
        self.server.answers = {"/authorization": Answer("unknown", 400)}
        callback = f"{settings.BASE_URL}{CALLBACK}"
        self.assert_found(
            "note: company: authorization endpoint: the provider answers HTTP 400; make"
            f" sure that it knows the redirect URI {callback}",
            status=0,
        )

    def test_an_authorization_endpoint_that_does_not_work(self):
        self.server.answers = {"/authorization": Answer("", 500)}
        self.assert_found("error: company: authorization endpoint: HTTP 500")

    def test_a_scope_that_the_provider_does_not_know(self):
        self.server.response_changes = {"error": "invalid_scope"}
        text = "the provider answers invalid_scope"
        self.assert_found(f"error: company: authorization endpoint: {text}")
        self.server.response_changes = {"error": "login_required"}
        self.assertEqual(run()[0], 0)

    def test_a_token_endpoint_that_does_not_work(self):
        self.server.answers = {"/token": Answer("", 502)}
        text = "provider unreachable (HTTP 502)"
        self.assert_found(f"error: company: token endpoint: {text}")

    def test_wrong_client_credentials(self):
        self.use(client_secret="wrong")
        self.assert_found(
            "error: company: client credentials: token request refused (HTTP 401"
            " invalid_client); check the client ID and the client secret"
        )

    def test_a_provider_that_looks_at_the_code_first(self):
        answer = Answer({"error": "invalid_request"}, 400)
        self.server.answers = {"/token": answer}
        self.assert_found(
            "note: company: client credentials: the provider does not say whether they"
            " are right: token request refused (HTTP 400 invalid_request)",
            status=0,
        )

    def test_a_provider_that_accepts_any_code(self):
        tokens = {"access_token": "a", "id_token": "b"}
        self.server.answers = {"/token": Answer(tokens)}
        self.assert_found(
            "error: company: client credentials: the provider issues tokens for a code"
            " that it has never issued"
        )

    def test_user_info_for_everyone(self):
        self.server.answers = {"/userinfo": Answer({})}
        self.assert_found("error: company: user info endpoint: HTTP 200")
        self.server.answers = {}
        self.server.discovery_changes = {"userinfo_endpoint": LEFT_OUT}
        self.assertEqual(run()[0], 0)
