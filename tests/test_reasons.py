"""Why the site does not work: in the log, on /healthz, and from doctor --deploy."""

import io
import json
import logging
import socket
import ssl
import subprocess
import tempfile
import threading
from datetime import timedelta
from pathlib import Path
from unittest import mock

import psycopg
from django.core.management import call_command
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.test import (
    RequestFactory,
    SimpleTestCase,
    TestCase,
    override_settings,
    tag,
)
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import override

from orgadmin import health
from orgadmin.access import reasons
from orgadmin.accounts.company.provider_check import Level
from orgadmin.logs import LogFormatter
from orgadmin.management import deploy_check
from orgadmin.records.backup_status import find_backup_problem, read_status
from tests.test_health import break_database

REFUSED = OperationalError(
    'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed:'
    " FATAL:  password authentication failed for user “orgadmin”\n"
)


class ReasonTests(TestCase):
    def setUp(self):
        reasons.forget_reports()
        self.addCleanup(reasons.forget_reports)

    def ask(self, url="/healthz", **headers):
        return self.client.get(url, headers=headers).content.decode()

    def test_the_log_has_the_text_of_the_driver(self):
        with break_database(REFUSED):
            with self.assertLogs("orgadmin.health", "ERROR") as logs:
                self.ask()
        formatter = LogFormatter(fmt=["message"])
        line = json.loads(formatter.format(logs.records[0]))
        self.assertEqual(line["component"], "database")
        self.assertIn("password authentication failed", line["reason"])
        self.assertIn("/run/postgresql", line["reason"])

    def test_a_minute_has_one_line_for_each_component(self):
        with break_database(REFUSED):
            with self.assertLogs("orgadmin.health", "ERROR") as logs:
                for _ in range(5):
                    self.ask()
                with mock.patch.object(reasons, "INTERVAL", 0):
                    self.ask()
                reasons.report("mail", OSError("x"))
        components = [record.component for record in logs.records]
        self.assertEqual(components, ["database", "database", "mail"])

    @tag("I1")
    def test_this_machine_reads_the_reason_and_strangers_do_not(self):
        with break_database(REFUSED):
            self.assertIn("the database does not answer: connection", self.ask())
            answer = self.ask(x_forwarded_for="192.0.2.7")
        self.assertEqual(answer, "unavailable\n")

    def test_an_error_page_reports_the_reason_as_well(self):
        request = RequestFactory().get("/admin/")
        with self.assertLogs("orgadmin.health", "ERROR"):
            try:
                raise REFUSED
            except OperationalError:
                response = health.server_error(request)
        self.assertEqual(response.status_code, 503)

    @tag("I1", "D17")
    def test_reasons_contain_no_credentials_and_no_data(self):
        databases = {
            "default": {"PASSWORD": "geheim/1"},
            "replica": {"PASSWORD": "gehe-2"},
        }
        with mock.patch.object(reasons.settings, "DATABASES", databases):
            for text in (
                "postgres://u:geheim/1@h/n refused",
                "postgres://u:geheim%2F1@h/n refused",
                "postgres://u:gehe@im@h/n refused",
                "smtp://u:geheim@h refused",
                "the server does not know geheim/1",
                "the replica does not know gehe-2",
                "invalid: host=h password=geheim user=u",
                "invalid: password = 'geheim im' user=u",
                "duplicate key\nDETAIL:  Key (email)=(geheim@example.com) exists.",
                "timeout\nCONTEXT: SQL statement geheim\nQUERY: geheim",
                "syntax error\nLINE 1: SELECT 'geheim'",
            ):
                described = reasons.describe_error(OperationalError(text))
                self.assertNotIn("gehe", described)

    def test_an_error_without_a_text_is_its_class(self):
        self.assertEqual(reasons.describe_error(OSError()), "OSError")


class BackupStatusTests(TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "status")
        override = override_settings(BACKUP_STATUS=str(self.path))
        override.enable()
        self.addCleanup(override.disable)

    def describe(self, **hours):
        """Return what is said if things happened so many hours ago."""
        now = timezone.now()
        lines = [
            f"{name}={now - timedelta(hours=ago):%Y-%m-%dT%H:%M:%SZ}\n"
            for name, ago in hours.items()
        ]
        self.path.write_text("".join(lines))
        return deploy_check.check_backup()

    def test_says_whether_backups_work(self):
        cases = [
            ({"BACKUP": 2, "VERIFIED": 50}, Level.OK, "UTC"),
            ({"BACKUP": 2, "FAILED": 26, "VERIFIED": 50}, Level.OK, "UTC"),
            ({"BACKUP": 26, "FAILED": 2, "VERIFIED": 50}, Level.ERROR, "failed at"),
            ({"FAILED": 2}, Level.ERROR, "failed at"),
            ({"BACKUP": 31, "VERIFIED": 50}, Level.ERROR, "older than a day"),
            ({"BACKUP": 2}, Level.ERROR, "no backup has been restored"),
            ({"BACKUP": 2, "VERIFIED": 250}, Level.ERROR, "since"),
            (
                {"BACKUP": 2, "VERIFIED": 50, "UNVERIFIED": 3},
                Level.ERROR,
                "could not be restored",
            ),
        ]
        for hours, level, text in cases:
            with self.subTest(hours):
                finding = self.describe(**hours)
                self.assertEqual(finding.level, level, finding)
                self.assertIn(text, finding.text)

    def test_a_missing_or_broken_file_is_an_error(self):
        self.assertEqual(deploy_check.check_backup().level, Level.ERROR)
        for text in (
            "nonsense",
            "BACKUP=yesterday\n",
            "BACKUP=2026-01-01T00:00:00\n",
            "OTHER=2026-01-01T00:00:00Z\n",
        ):
            self.path.write_text(text)
            self.assertEqual(deploy_check.check_backup().level, Level.ERROR)

    @override_settings(BACKUP_STATUS="")
    def test_nothing_is_known_without_the_setting(self):
        self.assertEqual(deploy_check.check_backup().level, Level.NOTE)

    def test_a_problem_is_in_english_in_logs_and_translated_on_pages(self):
        self.describe(FAILED=2)
        problem = find_backup_problem()
        time = read_status().failed
        self.assertEqual(
            str(problem), f"the backup failed at {time:%Y-%m-%d %H:%M} UTC"
        )
        translated = {problem.text: "Sicherung misslungen: %(when)s"}
        translate = "orgadmin.records.backup_status.gettext"
        with override("de"), mock.patch(translate, translated.get):
            when = date_format(timezone.localtime(time), "DATETIME_FORMAT")
            self.assertEqual(problem.shown, f"Sicherung misslungen: {when}")

    @tag("I1")
    def test_only_this_machine_reads_it_on_the_health_check(self):
        self.describe(FAILED=2)
        answer = self.client.get("/healthz?details")
        self.assertEqual(answer.status_code, 200)
        self.assertContains(answer, "backup: the backup failed at")
        answer = self.client.get("/healthz?details", REMOTE_ADDR="192.0.2.7")
        self.assertEqual(answer.content, b"ok\n")
        answer = self.client.get("/healthz")
        self.assertEqual(answer.content, b"ok\n")


def make_certificate(folder, *, days):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-days", str(days)]
    subprocess.run(
        command + subject + files, cwd=folder, check=True, capture_output=True
    )


class DeployTests(TestCase):
    def run_doctor(self):
        """Return the exit status and what the command printed."""
        output = io.StringIO()
        try:
            call_command("doctor", "--deploy", stdout=output)
        except SystemExit as error:
            return error.code, output.getvalue()
        return 0, output.getvalue()

    def test_tests_every_part(self):
        _status, printed = self.run_doctor()
        checks = {line.split(": ")[1] for line in printed.splitlines()}
        expected = {"database", "migrations", "clock", "mail", "ALLOWED_HOSTS"}
        self.assertLessEqual(expected | {"backup", "worker", "disk of /"}, checks)

    def test_goes_on_if_the_database_does_not_answer(self):
        with mock.patch.object(
            deploy_check, "connection", **{"cursor.side_effect": REFUSED}
        ):
            status, printed = self.run_doctor()
        self.assertEqual(status, 1)
        self.assertIn("error: database: connection to server", printed)
        self.assertIn("password authentication failed", printed)
        self.assertIn("backup:", printed)

    def test_reports_open_migrations(self):
        MigrationRecorder.Migration.objects.filter(app="orgadmin").last().delete()
        finding = deploy_check.check_migrations()
        self.assertEqual(finding.level, Level.ERROR)
        self.assertIn("1 are not applied", finding.text)
        with mock.patch.object(deploy_check, "check_worker") as check_worker:
            list(deploy_check.examine_deployment())
        check_worker.assert_not_called()

    def test_the_host_of_the_site_must_be_allowed(self):
        cases = [
            ("https://orgs.example.com", ["orgs.example.com"], Level.OK),
            ("https://orgs.example.com:8443", [".example.com"], Level.OK),
            ("https://orgs.example.com", ["localhost"], Level.ERROR),
        ]
        for url, hosts, level in cases:
            with override_settings(BASE_URL=url, ALLOWED_HOSTS=hosts):
                self.assertEqual(deploy_check.check_host().level, level, (url, hosts))

    @override_settings(
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
        EMAIL_HOST="localhost",
    )
    def test_asks_the_mail_server(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with override_settings(EMAIL_PORT=port):
            finding = deploy_check.check_mail()
        self.assertEqual(finding.level, Level.ERROR)
        self.assertIn("Connection refused", finding.text)

    def check_certificate(self, *, days, trusted):
        with (
            tempfile.TemporaryDirectory() as folder,
            socket.create_server(("127.0.0.1", 0)) as listener,
        ):
            make_certificate(folder, days=days)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
            thread = threading.Thread(target=self.serve, args=(listener, context))
            thread.start()
            client = ssl.create_default_context()
            if trusted:
                client.load_verify_locations(f"{folder}/cert.pem")
            url = f"https://localhost:{listener.getsockname()[1]}"
            with (
                override_settings(BASE_URL=url),
                mock.patch.object(
                    deploy_check.ssl, "create_default_context", return_value=client
                ),
            ):
                [finding] = deploy_check.check_certificate()
            thread.join()
        return finding

    def serve(self, listener, context):
        try:
            connection, _address = listener.accept()
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            pass

    def test_knows_when_the_certificate_ends(self):
        finding = self.check_certificate(days=90, trusted=True)
        self.assertEqual(finding.level, Level.OK)
        self.assertIn("ends in 89 days", finding.text)
        finding = self.check_certificate(days=5, trusted=True)
        self.assertEqual(finding.level, Level.NOTE)
        finding = self.check_certificate(days=90, trusted=False)
        self.assertEqual(finding.level, Level.ERROR)
        self.assertIn("certificate verify failed", finding.text)

    def check_pooler(self, url, *, options):
        environment = {"DATABASE_URL": url}
        if options is not None:
            environment["PGOPTIONS"] = options
        with (
            mock.patch.dict(deploy_check.os.environ, environment),
            override_settings(DATABASE_VARIABLE="DIRECT_DATABASE_URL"),
            mock.patch.object(
                psycopg, "connect", side_effect=psycopg.OperationalError("refused")
            ),
        ):
            return [finding.text for finding in deploy_check.check_pooler()]

    def test_checks_the_settings_for_the_pooler(self):
        url = "postgres://u:p@127.0.0.1:6432/n"
        texts = self.check_pooler(url, options="-c statement_timeout=1")
        self.assertEqual(len(texts), 3)
        self.assertIn("disable_server_side_cursors", texts[0])
        self.assertIn("PGOPTIONS", texts[1])
        texts = self.check_pooler(f"{url}?disable_server_side_cursors=true", options="")
        self.assertEqual(texts, ["refused"])
        self.assertEqual(list(deploy_check.check_pooler()), [])


class QuietTests(SimpleTestCase):
    def test_the_logger_is_one_of_ours(self):
        self.assertIs(reasons.logger, logging.getLogger("orgadmin.health"))
