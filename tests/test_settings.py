import os
import subprocess
import sys

from django.conf import settings
from django.test import SimpleTestCase

GOOD = {"SECRET_KEY": "x"}
COMPANY = {
    "OIDC_SERVER": "https://id.example.com",
    "OIDC_CLIENT_ID": "orgadmin",
    "OIDC_CLIENT_SECRET": "hush",
}


class SettingsTests(SimpleTestCase):
    def start(self, *command, **environment):
        environment |= {
            name: os.environ[name]
            for name in ("PATH", "LANG", "HOME")
            if name in os.environ
        }
        return subprocess.run(
            [sys.executable, *(command or ("manage.py", "check"))],
            env=environment,
            capture_output=True,
            text=True,
            cwd=settings.BASE_DIR,
        )

    def test_a_missing_or_wrong_variable_ends_the_start_with_one_line_that_names_it(
        self,
    ):
        cases = [
            ("SECRET_KEY", {}),
            ("SECRET_KEY", {"SECRET_KEY": "", "DEBUG": "false"}),
            ("DEBUG", GOOD | {"DEBUG": "maybe"}),
            ("DATABASE_URL", GOOD | {"DATABASE_URL": "mysql://localhost/x"}),
            *(
                ("DATABASE_URL", GOOD | {"DATABASE_URL": url})
                for url in (
                    "nonsense",
                    "postgres",
                    "postgres:///",
                    "postgres://h",
                    "postgres://u:p@h:abc/n",
                )
            ),
            *(
                ("BASE_URL", GOOD | {"BASE_URL": url})
                for url in (
                    "orgs.example.com",
                    "http://[::1",
                    "http://a b",
                    "https://a:99999999",
                    "ftp://a.example",
                )
            ),
            ("EMAIL_URL", GOOD | {"EMAIL_URL": "smtp://h:abc"}),
            *(
                ("EMAIL_URL", GOOD | {"EMAIL_URL": url})
                for url in ("smtp", "smtp:", "smtp:mail.example.com:25")
            ),
            ("EMAIL_URL", GOOD | {"EMAIL_URL": "pigeon://coop"}),
            *(
                ("TIME_ZONE", GOOD | {"TIME_ZONE": name})
                for name in ("Mars/Olympus", "Europe", "../etc/passwd")
            ),
            ("TRUST_PROXY", GOOD | {"TRUST_PROXY": "1"}),
            ("DATABASE_POOL", GOOD | {"DATABASE_POOL": "many"}),
            ("DATABASE_POOL", GOOD | {"DATABASE_POOL": "-1"}),
            ("SECOND_FACTOR", GOOD | {"SECOND_FACTOR": "true"}),
            ("OIDC_SERVER", GOOD | {"OIDC_SERVER": "id.example.com"}),
            ("OIDC_CLIENT_ID", GOOD | COMPANY | {"OIDC_CLIENT_ID": ""}),
            ("OIDC_CLIENT_SECRET", GOOD | COMPANY | {"OIDC_CLIENT_SECRET": ""}),
            ("OIDC_TRUST_EMAIL", GOOD | COMPANY | {"OIDC_TRUST_EMAIL": "maybe"}),
        ]
        for name, environment in cases:
            with self.subTest(name=name, environment=environment):
                result = self.start(**environment)
                self.assertEqual(result.returncode, 1)
                self.assertRegex(
                    result.stderr, rf"\A{name} is missing or wrong: expected .*\.\n\Z"
                )

    def test_ends_the_start_of_the_server_too_instead_of_that_of_each_worker(self):
        server = [
            "-m",
            "gunicorn",
            "--config",
            "docs/deployment/gunicorn.conf.py",
            "--check-config",
            "config.wsgi",
        ]
        self.assertEqual(self.start(*server, **GOOD).returncode, 0)
        result = self.start(*server, **GOOD, TIME_ZONE="Mars/Olympus")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(
            result.stderr, r"TIME_ZONE is missing or wrong: expected .*\.\n\Z"
        )

    def test_starts_with_a_secret_key_or_in_debug(self):
        others = {
            "DATABASE_URL": "",
            "BASE_URL": "https://o.example.com",
            "SECOND_FACTOR": "",
        }
        for environment in (
            GOOD,
            {"DEBUG": "true"},
            GOOD | others,
            GOOD | COMPANY | {"SECOND_FACTOR": "staff"},
        ):
            with self.subTest(environment=environment):
                self.assertEqual(self.start(**environment).returncode, 0)

    def test_what_a_key_of_before_signed_still_counts(self):
        def run(code, **keys):
            code = f"import django; django.setup(); from django.core import signing; print(signing.{code})"
            return self.start(
                "-c", code, DJANGO_SETTINGS_MODULE="config.settings", **keys
            )

        read = f"loads({run('dumps(7)', SECRET_KEY='old').stdout.strip()!r})"
        self.assertEqual(
            run(read, SECRET_KEY="new", SECRET_KEY_FALLBACKS="other,old").stdout, "7\n"
        )
        self.assertIn("BadSignature", run(read, SECRET_KEY="new").stderr)
