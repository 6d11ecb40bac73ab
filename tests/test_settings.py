import os
import subprocess
import sys
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase, tag

from config import providers
from orgadmin.access.roles import ROLES

KEY = {"SECRET_KEY": "x"}
OPENID = {
    "OIDC_SERVER": "https://id.example.com",
    "OIDC_CLIENT_ID": "orgadmin",
    "OIDC_CLIENT_SECRET": "hush",
}
PARTNER = {
    "OIDC_PROVIDERS": "our-partner",
    "OIDC_OUR_PARTNER_SERVER": "https://id.partner.example",
    "OIDC_OUR_PARTNER_CLIENT_ID": "us",
    "OIDC_OUR_PARTNER_CLIENT_SECRET": "hush",
    "OIDC_OUR_PARTNER_NAME": "Partner",
}
# What is wrong for a provider. The variables of all have the same endings.
WRONG_OF_PROVIDERS = {
    "SERVER": ["id.example.com", "http://id.example.com", "https://a:b@example.com"],
    "TRUST_EMAIL": ["maybe"],
    "ROLES": [
        "staff",
        "staff=reviewer",
        "staff=reviewer@",
        "=reviewer@C-1",
        "staff=guest@C-1",
        "staff=Admin@C-1",
        "staff:reviewer@C-1",
        "staff=reviewer@C-1;board=admin@C-1",
    ],
}
INHERITED = ("PATH", "LANG", "HOME")
GUNICORN = [
    "-m",
    "gunicorn",
    "--config",
    "docs/deployment/gunicorn.conf.py",
    "--check-config",
    "config.wsgi",
]
# For each variable, values that are wrong.
WRONG_VALUES = {
    "DEBUG": ["maybe"],
    "DATABASE_URL": [
        "mysql://localhost/x",
        "nonsense",
        "postgres",
        "postgres:///",
        "postgres://h",
        "postgres://u:p@h:abc/n",
    ],
    "BASE_URL": [
        "orgs.example.com",
        "http://[::1",
        "http://a b",
        "https://a:99999999",
        "ftp://a.example",
        "https://a.example/orgs",
        "https://a.example/orgs/",
        "https://a.example/?x=1",
        "https://a.example#x",
        "https://user@a.example",
    ],
    "EMAIL_URL": [
        "smtp://h:abc",
        "smtp",
        "smtp:",
        "smtp:mail.example.com:25",
        "pigeon://coop",
    ],
    "TIME_ZONE": ["Mars/Olympus", "Europe", "../etc/passwd"],
    "TRUST_PROXY": ["1"],
    "DATABASE_POOL": ["many", "-1"],
    # Without DATABASE_URL, the database is SQLite.
    "DATABASE_REPLICA_URL": ["sqlite:///copy", "postgres://replica/orgadmin"],
    "SESSION_IDLE_MINUTES": ["0", "-1", "1.5"],
    "SESSION_HOURS": ["0", "many"],
    "STAFF_SESSION_IDLE_MINUTES": ["0"],
    "STAFF_SESSION_HOURS": ["0"],
    "SECOND_FACTOR": ["true"],
    "OIDC_SERVER": ["id.example.com"],
    "OIDC_PROVIDERS": ["Partner", "1", "a b", "company", "a,a", "a/b", "é"],
    "PWNED_PASSWORDS_URL": ["passwords.example.com", "ftp://passwords.example.com"],
}


class SettingsTests(SimpleTestCase):
    def start(self, *command, **environment):
        """Run Python with nothing in its environment but these variables."""
        for name in INHERITED:
            if name in os.environ:
                environment[name] = os.environ[name]
        return subprocess.run(
            [sys.executable, *command],
            env=environment,
            capture_output=True,
            text=True,
            cwd=settings.BASE_DIR,
        )

    def check(self, **environment):
        return self.start("manage.py", "check", **environment)

    def assert_stops(self, name, environment):
        with self.subTest(name=name, environment=environment):
            result = self.check(**environment)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(
                result.stderr, rf"\A{name} is missing or wrong: expected .*\.\n\Z"
            )

    def test_a_wrong_variable_stops_the_start_with_one_line_that_names_it(self):
        for name, values in WRONG_VALUES.items():
            for value in values:
                self.assert_stops(name, KEY | {name: value})

    def test_a_missing_variable_stops_the_start_with_one_line_that_names_it(self):
        self.assert_stops("SECRET_KEY", {})
        self.assert_stops("SECRET_KEY", {"SECRET_KEY": "", "DEBUG": "false"})
        for name in ("OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"):
            self.assert_stops(name, KEY | OPENID | {name: ""})
        for name in PARTNER.keys() - {"OIDC_PROVIDERS"}:
            self.assert_stops(name, KEY | PARTNER | {name: ""})

    def test_a_wrong_variable_stops_the_server_and_not_each_worker(self):
        self.assertEqual(self.start(*GUNICORN, **KEY).returncode, 0)
        result = self.start(*GUNICORN, **KEY, TIME_ZONE="Mars/Olympus")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(
            result.stderr, r"TIME_ZONE is missing or wrong: expected .*\.\n\Z"
        )

    def test_starts_with_a_secret_key_or_in_debug_mode(self):
        empty = {"DATABASE_URL": "", "SECOND_FACTOR": ""}
        environments = [
            KEY,
            {"DEBUG": "true"},
            KEY | {"BASE_URL": "https://o.example.com"} | empty,
            KEY | OPENID | {"SECOND_FACTOR": "staff"},
        ]
        for environment in environments:
            with self.subTest(environment=environment):
                self.assertEqual(self.check(**environment).returncode, 0)

    @tag("D17")
    def test_the_log_has_no_ids_of_passkeys(self):
        code = (
            "import django, logging; django.setup();"
            " log = logging.getLogger('fido2.server');"
            " log.info('Credential authenticated: 00ff'); log.warning('Kept')"
        )
        environment = KEY | {"DJANGO_SETTINGS_MODULE": "config.settings"}
        result = self.start("-c", code, **environment)
        self.assertIn("Kept", result.stdout)
        self.assertNotIn("00ff", result.stdout + result.stderr)

    def test_spaces_and_empty_items_of_lists_are_ignored(self):
        code = (
            "from django.conf import settings;"
            " print(settings.ALLOWED_HOSTS, settings.SECRET_KEY_FALLBACKS)"
        )
        result = self.start(
            "-c",
            code,
            DJANGO_SETTINGS_MODULE="config.settings",
            ALLOWED_HOSTS=" a.example , b.example,, ",
            SECRET_KEY_FALLBACKS=" old , older ",
            **KEY,
        )
        hosts = "['a.example', 'b.example']"
        self.assertEqual(result.stdout, f"{hosts} ['old', 'older']\n")

    def run_signing(self, expression, **keys):
        """Evaluate a function of django.core.signing in a new process."""
        code = (
            "import django; django.setup(); from django.core import signing;"
            f" print(signing.{expression})"
        )
        return self.start("-c", code, DJANGO_SETTINGS_MODULE="config.settings", **keys)

    def test_accepts_what_an_earlier_key_signed(self):
        signed = self.run_signing("dumps(7)", SECRET_KEY="old").stdout.strip()
        loads = f"loads({signed!r})"
        accepted = self.run_signing(
            loads, SECRET_KEY="new", SECRET_KEY_FALLBACKS="other,old"
        )
        self.assertEqual(accepted.stdout, "7\n")
        refused = self.run_signing(loads, SECRET_KEY="new")
        self.assertIn("BadSignature", refused.stderr)


class ProviderTests(SimpleTestCase):
    """The OpenID providers in the environment."""

    def read(self, **environment):
        with mock.patch.dict(os.environ, environment, clear=True):
            return providers.read_providers(allow_http=False)

    def read_roles(self, text):
        [provider] = self.read(**OPENID, OIDC_ROLES=text)
        return [(row.group, row.role, row.reference) for row in provider.roles]

    def test_there_is_none_without_settings(self):
        self.assertEqual(self.read(), [])
        self.assertEqual(self.read(OIDC_SERVER="", OIDC_PROVIDERS=""), [])

    def test_the_first_is_called_company(self):
        [provider] = self.read(**OPENID, OIDC_NAME="Example")
        self.assertEqual(provider.id, "company")
        self.assertEqual(provider.name, "Example")
        self.assertEqual(provider.server, "https://id.example.com")
        self.assertEqual(provider.client_id, "orgadmin")
        self.assertEqual(provider.client_secret, "hush")
        self.assertFalse(provider.trusts_email)
        self.assertEqual(provider.groups_claim, "groups")

    def test_an_empty_name_counts_as_not_set(self):
        for name in ("", "  "):
            [provider] = self.read(**OPENID, OIDC_NAME=name)
            self.assertEqual(provider.name, "OpenID Connect")

    def test_there_can_be_others(self):
        first, second = self.read(
            **OPENID,
            **PARTNER,
            OIDC_OUR_PARTNER_TRUST_EMAIL="true",
            OIDC_OUR_PARTNER_GROUPS_CLAIM="cognito:groups",
        )
        self.assertEqual((first.id, second.id), ("company", "our-partner"))
        self.assertEqual(second.server, "https://id.partner.example")
        self.assertEqual(second.name, "Partner")
        self.assertTrue(second.trusts_email)
        self.assertEqual(second.groups_claim, "cognito:groups")
        self.assertFalse(first.trusts_email)

    def test_there_can_be_others_only(self):
        self.assertEqual([row.id for row in self.read(**PARTNER)], ["our-partner"])

    def test_two_with_one_name_stop_the_start(self):
        with self.assertRaisesMessage(SystemExit, "OIDC_OUR_PARTNER_NAME is"):
            self.read(**OPENID, **PARTNER, OIDC_NAME="Partner")

    def test_a_wrong_variable_of_any_stops_the_start(self):
        for ending, values in WRONG_OF_PROVIDERS.items():
            for value in values:
                first = f"OIDC_{ending}"
                with self.assertRaisesMessage(SystemExit, f"{first} is missing or"):
                    self.read(**OPENID | {first: value})
                second = f"OIDC_OUR_PARTNER_{ending}"
                with self.assertRaisesMessage(SystemExit, f"{second} is missing or"):
                    self.read(**PARTNER | {second: value})

    def test_maps_groups_to_roles(self):
        cases = [
            ("", []),
            (" , ", []),
            ("staff=reviewer@C-1", [("staff", "reviewer", "C-1")]),
            (
                "staff=reviewer@C-1, board=admin@C-2,",
                [("staff", "reviewer", "C-1"), ("board", "admin", "C-2")],
            ),
            ("/a/b=admin@C@1", [("/a/b", "admin", "C@1")]),
            ("cn%3Da=admin@1", [("cn=a", "admin", "1")]),
            (
                "Our%20staff%2C%20all=reviewer@C%3D1",
                [("Our staff, all", "reviewer", "C=1")],
            ),
        ]
        for text, roles in cases:
            with self.subTest(text):
                self.assertEqual(self.read_roles(text), roles)

    def test_knows_the_roles_of_the_site(self):
        self.assertEqual(list(providers.ROLE_KEYS), [role.key for role in ROLES])

    @tag("D17")
    def test_does_not_show_the_secret(self):
        self.assertNotIn("hush", repr(self.read(**OPENID)))
