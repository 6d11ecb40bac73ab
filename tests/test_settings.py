import os
import subprocess
import sys

from django.conf import settings
from django.test import SimpleTestCase, tag

KEY = {"SECRET_KEY": "x"}
OPENID = {
    "OIDC_SERVER": "https://id.example.com",
    "OIDC_CLIENT_ID": "orgadmin",
    "OIDC_CLIENT_SECRET": "hush",
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
    "SESSION_IDLE_MINUTES": ["0", "-1", "1.5"],
    "SESSION_HOURS": ["0", "many"],
    "STAFF_SESSION_IDLE_MINUTES": ["0"],
    "STAFF_SESSION_HOURS": ["0"],
    "SECOND_FACTOR": ["true"],
    "OIDC_SERVER": ["id.example.com"],
    "OIDC_TRUST_EMAIL": ["maybe"],
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
