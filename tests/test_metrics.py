"""The metrics for Prometheus, and who can read them."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import mock, skipUnless

from django.conf import settings
from django.db import OperationalError
from django.test import SimpleTestCase, TestCase, override_settings, tag
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from orgadmin import metrics
from orgadmin.access import reasons
from orgadmin.access.audit_log import SecurityEvent, publish, record
from orgadmin.models import DoctorRun
from tests.factories import create_organization, create_superuser, create_user
from tests.servers import Person
from tests.test_servers import ServersTestCase

TOKEN = "secret-of-prometheus"
PROMTOOL = shutil.which("promtool")  # from Debian's package "prometheus"
DEPLOYMENT = Path(settings.BASE_DIR, "docs/deployment")


def parse(text):
    """Return {name of the sample with its labels: value}."""
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(
                f"{key}={value}" for key, value in sorted(sample.labels.items())
            )
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = (
                sample.value
            )
    return values


@override_settings(METRICS_TOKEN=TOKEN)
class MetricsCase(TestCase):
    def read(self, token=TOKEN):
        return self.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})

    def read_values(self):
        response = self.read()
        self.assertEqual(response.status_code, 200)
        return parse(response.content.decode())


@tag("I7")
class TokenTests(MetricsCase):
    def assert_missing(self, response):
        missing = self.client.get("/nothing")
        self.assertEqual(response.status_code, missing.status_code)
        self.assertNotIn(b"orgadmin_", response.content)

    def test_without_the_token_there_is_no_such_page(self):
        self.assert_missing(self.client.get("/metrics"))
        for token in ("", "x", TOKEN[:-1], f"{TOKEN}x"):
            with self.subTest(token=token):
                self.assert_missing(self.read(token))

    def test_superusers_need_the_token_too(self):
        self.client.force_login(create_superuser())
        self.assert_missing(self.client.get("/metrics"))

    def test_an_empty_setting_opens_nothing(self):
        with override_settings(METRICS_TOKEN=""):
            self.assert_missing(self.read(""))

    def test_works_for_any_host_and_without_a_session(self):
        with override_settings(ALLOWED_HOSTS=["orgs.example.com"]):
            self.assertEqual(self.read().status_code, 200)
        with self.assertNumQueries(5):
            self.assertNotIn("Set-Cookie", self.read().headers)

    def test_is_never_stored(self):
        self.assertIn("no-store", self.read().headers["Cache-Control"])


@tag("I7")
class SiteTests(MetricsCase):
    def test_describe_the_state_of_the_site(self):
        create_organization("Alone")
        create_user("ada", admin_of=[create_organization("Acme")])
        DoctorRun.objects.create(at=timezone.now(), errors={"groups": 2})
        values = self.read_values()
        self.assertEqual(values["orgadmin_database_up"], 1)
        self.assertEqual(values["orgadmin_migrations_unapplied"], 0)
        self.assertEqual(values["orgadmin_organizations_without_admin"], 1)
        self.assertEqual(values["orgadmin_doctor_errors"], 2)
        self.assertLess(values["orgadmin_doctor_age_seconds"], 600)
        self.assertEqual(values["orgadmin_mail_given_up"], 0)
        self.assertNotIn("orgadmin_backup_ok", values)

    def test_say_that_the_database_does_not_answer(self):
        # The log has one line a minute, which another test may have written.
        reasons.forget_reports()
        broken = mock.patch.object(
            metrics, "find_state", side_effect=OperationalError("gone")
        )
        with broken, self.assertLogs("orgadmin.health", "ERROR"):
            values = self.read_values()
        self.assertEqual(values["orgadmin_database_up"], 0)
        self.assertNotIn("orgadmin_migrations_unapplied", values)

    def test_say_how_old_the_backup_is(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "status")
            with override_settings(BACKUP_STATUS=str(path)):
                self.assertEqual(self.read_values()["orgadmin_backup_ok"], 0)
                now = timezone.now().isoformat()
                path.write_text(f"BACKUP={now}\nVERIFIED={now}\n")
                values = self.read_values()
        self.assertEqual(values["orgadmin_backup_ok"], 1)
        self.assertLess(values["orgadmin_backup_age_seconds"], 600)

    def test_say_that_the_status_of_the_backup_cannot_be_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "status")
            for content in ("BACKUP", "BACKUP=yesterday\n", "OTHER=1\n"):
                path.write_text(content)
                with (
                    self.subTest(content),
                    override_settings(BACKUP_STATUS=str(path)),
                ):
                    values = self.read_values()
                    self.assertEqual(values["orgadmin_backup_ok"], 0)
                    self.assertNotIn("orgadmin_backup_age_seconds", values)

    def test_take_the_same_queries_for_many_organizations(self):
        with self.assertNumQueries(5):
            self.read()
        for number in range(20):
            create_organization(f"Number {number}")
        with self.assertNumQueries(5):
            self.read()


@tag("I7")
class CountingTests(MetricsCase):
    def count(self, name):
        return self.read_values().get(name, 0)

    def test_requests_by_route_without_keys(self):
        acme = create_organization()
        self.client.force_login(create_superuser())
        route = "admin/orgadmin/organization/<path:object_id>/change/"
        labels = f"{{method=GET,route={route},status=200}}"
        before = self.count(f"orgadmin_requests_total{labels}")
        self.client.get(f"/admin/orgadmin/organization/{acme.pk}/change/")
        values = self.read_values()
        self.assertEqual(values[f"orgadmin_requests_total{labels}"], before + 1)
        seconds = values[f"orgadmin_database_seconds_total{{route={route}}}"]
        self.assertGreater(seconds, 0)
        self.assertGreater(
            values[f"orgadmin_request_seconds_sum{{route={route}}}"], seconds
        )

    def test_unknown_paths_and_methods_are_counted_together(self):
        for path in ("/secret-1", "/secret-2?token=canary"):
            self.client.generic("CANARY", path)
        text = self.read().content.decode()
        self.assertNotIn("secret-1", text)
        self.assertNotIn("canary", text.lower())
        self.assertIn('route="unknown"', text)

    def test_events_of_the_audit_log(self):
        name = "orgadmin_security_events_total{event=sign-in failed}"
        before = self.count(name)
        record(SecurityEvent.SIGN_IN_FAILED)
        publish()
        self.assertEqual(self.count(name), before + 1)

    def test_cost_no_query(self):
        with self.assertNumQueries(0):
            self.client.get("/livez")

    def test_without_a_token_nothing_is_counted(self):
        with override_settings(METRICS_TOKEN=""):
            self.client.handler.load_middleware()
            self.addCleanup(self.client.handler.load_middleware)
            self.client.get("/livez")
            chain = self.client.handler._middleware_chain
        self.assertNotIn("MetricsMiddleware", repr(chain))


class SeveralProcessesTests(ServersTestCase):
    def test_each_process_of_a_server_answers_for_all(self):
        address = self.start(workers=3, METRICS_TOKEN=TOKEN)
        for _number in range(30):
            Person(address).get("/livez")
        asked = {"Authorization": f"Bearer {TOKEN}"}
        for _number in range(5):
            response = Person(address).ask("GET", "/metrics", headers=asked)
            values = parse(response.text)
            counted = values[
                "orgadmin_requests_total{method=GET,route=livez,status=200}"
            ]
            self.assertEqual(counted, 30)
            self.assertEqual(values["orgadmin_database_up"], 1)


class DeploymentTests(SimpleTestCase):
    """The alerts and the dashboard ask for metrics that exist."""

    def find_names(self, text):
        return set(re.findall(r"\borgadmin_\w+", text))

    def find_documented(self):
        page = Path(settings.BASE_DIR, "docs/monitoring.md").read_text()
        return self.find_names(page)

    def test_alerts_and_dashboard_use_documented_metrics(self):
        alerts = (DEPLOYMENT / "alerts.yml").read_text()
        dashboard = (DEPLOYMENT / "dashboard.json").read_text()
        used = self.find_names(alerts) | self.find_names(dashboard)
        used -= {"orgadmin_request_seconds_bucket", "orgadmin_request_seconds_sum"}
        self.assertLessEqual(used, self.find_documented())

    @skipUnless(PROMTOOL, "promtool is not installed")
    def test_promtool_accepts_the_alerts(self):
        command = [PROMTOOL, "check", "rules", DEPLOYMENT / "alerts.yml"]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_alert_is_documented(self):
        page = Path(settings.BASE_DIR, "docs/monitoring.md").read_text()
        alerts = (DEPLOYMENT / "alerts.yml").read_text()
        names = re.findall(r"- alert: (\w+)", alerts)
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertIn(name, page)

    def test_documented_metrics_exist(self):
        source = Path(metrics.__file__).read_text()
        for name in self.find_documented():
            short = name.removeprefix("orgadmin_").removesuffix("_total")
            self.assertRegex(source, rf'"(orgadmin_)?{short}"')

    def test_the_dashboard_is_complete(self):
        dashboard = json.loads((DEPLOYMENT / "dashboard.json").read_text())
        numbers = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        for panel in dashboard["panels"]:
            self.assertTrue(panel["targets"], panel["title"])

    def test_events_in_alerts_and_dashboard_exist(self):
        texts = (DEPLOYMENT / "alerts.yml").read_text()
        dashboard = json.loads((DEPLOYMENT / "dashboard.json").read_text())
        for panel in dashboard["panels"]:
            texts += "".join(target["expr"] for target in panel["targets"])
        found = re.findall(r'event=~?"([^"]+)"', texts)
        names = {name for names in found for name in names.split("|")}
        self.assertLessEqual(names, set(SecurityEvent.values))
        self.assertIn("locked out", names)
