from unittest import mock

from django.db import OperationalError, ProgrammingError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext

from config.settings import MIDDLEWARE
from orgadmin import health
from tests.factories import create_superuser, create_user

# Each of them may be the address of a load balancer's target, or no name at all.
FOREIGN_HOSTS = ("10.0.0.7:8000", "[2001:db8::7]", "other.example", "not a host")


def break_database(error):
    """Make the query for the applied migrations fail with this error."""
    return mock.patch.object(
        MigrationRecorder,
        "migration_qs",
        new_callable=mock.PropertyMock,
        side_effect=error,
    )


class HealthTests(TestCase):
    def test_answers_ok(self):
        for url in ("/healthz", "/livez"):
            response = self.client.get(url)
            self.assertEqual(response.status_code, 200)
            self.assertEqual(response.content, b"ok\n")
            self.assertIn("no-cache", response["Cache-Control"])

    def assert_problem(self, expected, client=None, **request):
        response = (client or self.client).get("/healthz", **request)
        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.content, expected)
        self.assertEqual(self.client.get("/livez").status_code, 200)

    def test_says_that_there_are_unapplied_migrations(self):
        MigrationRecorder.Migration.objects.filter(app="orgadmin").last().delete()
        self.assert_problem(b"there are unapplied migrations\n")

    def test_says_that_nothing_was_migrated(self):
        with break_database(ProgrammingError):
            self.assert_problem(b"there are unapplied migrations\n")

    def test_says_that_the_database_does_not_answer(self):
        with break_database(OperationalError):
            self.assert_problem(b"the database does not answer\n")

    @tag("I1")
    def test_costs_one_query_and_reads_no_files(self):
        self.client.get("/healthz")
        with mock.patch.object(MigrationLoader, "__init__") as load:
            with self.assertNumQueries(1):
                self.client.get("/healthz")
            load.assert_not_called()
        with CaptureQueriesContext(connection) as queries:
            self.client.get("/livez")
        self.assertEqual(len(queries), 0)

    @tag("I1")
    def test_notices_when_a_migration_is_undone_later(self):
        self.assertEqual(self.client.get("/healthz").status_code, 200)
        MigrationRecorder.Migration.objects.filter(app="orgadmin").last().delete()
        self.assertEqual(self.client.get("/healthz").status_code, 503)

    def test_knows_the_same_migrations_as_the_command(self):
        applied = MigrationRecorder.Migration.objects.values_list("app", "name")
        self.assertLessEqual(health.find_migrations(), set(applied))
        labels = {label for label, _name in health.find_migrations()}
        self.assertIn("orgadmin", labels)
        self.assertIn("guardian", labels)


@override_settings(ALLOWED_HOSTS=["orgs.example.com"])
class HostTests(TestCase):
    def test_answers_for_any_host(self):
        for host in FOREIGN_HOSTS:
            for url in ("/healthz", "/livez"):
                with self.subTest(host=host, url=url):
                    response = self.client.get(url, headers={"host": host})
                    self.assertEqual(response.status_code, 200)

    @tag("D11")
    def test_every_other_address_is_refused_for_foreign_hosts(self):
        urls = (
            "/",
            "/admin/login/",
            "/healthz/",
            "/healthz/x",
            "/livez/..",
            "/nothing",
        )
        for host in FOREIGN_HOSTS:
            for url in urls:
                with self.subTest(host=host, url=url):
                    response = self.client.get(url, headers={"host": host})
                    self.assertEqual(response.status_code, 400)

    @override_settings(SECURE_SSL_REDIRECT=True)
    def test_redirects_to_nowhere(self):
        with override_settings(SECURE_REDIRECT_EXEMPT=["^healthz$", "^livez$"]):
            for url in ("/healthz", "/livez"):
                response = self.client.get(url, headers={"host": FOREIGN_HOSTS[0]})
                self.assertEqual(response.status_code, 200)


class DetailTests(TestCase):
    """Only superusers and this machine learn what the problem is."""

    DETAILS = b"there are unapplied migrations\n"
    UNAVAILABLE = b"unavailable\n"

    @classmethod
    def setUpTestData(cls):
        MigrationRecorder.Migration.objects.filter(app="orgadmin").last().delete()

    def ask(self, address, **headers):
        response = self.client.get("/healthz", REMOTE_ADDR=address, headers=headers)
        self.assertEqual(response.status_code, 503)
        return response.content

    @tag("I1")
    def test_programs_on_this_machine_read_the_details(self):
        for address in ("127.0.0.1", "::1", ""):
            self.assertEqual(self.ask(address), self.DETAILS, address)

    @tag("I1")
    def test_strangers_do_not_read_the_details(self):
        self.assertEqual(self.ask("192.0.2.7"), self.UNAVAILABLE)
        for trust_proxy in (True, False):
            with override_settings(TRUST_PROXY=trust_proxy):
                for address in ("127.0.0.1", "::1", ""):
                    for client in ("192.0.2.7", "127.0.0.1", ""):
                        answer = self.ask(address, x_forwarded_for=client)
                        self.assertEqual(answer, self.UNAVAILABLE)

    @tag("I1")
    def test_of_people_only_superusers_read_the_details(self):
        people = {
            create_user("staff", is_staff=True): self.UNAVAILABLE,
            create_superuser("gone", is_active=False): self.UNAVAILABLE,
            create_superuser(): self.DETAILS,
        }
        for user, expected in people.items():
            with self.subTest(user=user.username):
                self.client.force_login(user)
                self.assertEqual(self.ask("192.0.2.7"), expected)

    @tag("I1")
    def test_a_broken_database_does_not_break_the_answer_to_people(self):
        self.client.force_login(create_superuser())
        store = "django.contrib.sessions.backends.db.SessionStore.load"
        with (
            break_database(OperationalError),
            mock.patch(store, side_effect=OperationalError),
        ):
            self.assertEqual(self.ask("192.0.2.7"), self.UNAVAILABLE)


class ResourcePolicyTests(TestCase):
    @tag("I2")
    def test_other_sites_can_load_nothing(self):
        for url in (
            "/admin/login/",
            "/admin/",
            "/healthz",
            "/nothing",
            "/static/x.css",
        ):
            response = self.client.get(url)
            self.assertEqual(response["Cross-Origin-Resource-Policy"], "same-origin")
            self.assertEqual(response["Cross-Origin-Opener-Policy"], "same-origin")

    @tag("I2")
    def test_the_policy_also_covers_static_files(self):
        # The settings of the tests leave out the middleware that serves static files.
        ours = MIDDLEWARE.index("orgadmin.headers.ResourcePolicyMiddleware")
        static_files = MIDDLEWARE.index("whitenoise.middleware.WhiteNoiseMiddleware")
        self.assertLess(ours, static_files)


class MessageTests(TestCase):
    @tag("D12")
    def test_a_message_is_not_kept_in_a_cookie(self):
        self.client.force_login(create_superuser())
        data = {"name": "Acme Ltd", "contacts-TOTAL_FORMS": 0}
        data["contacts-INITIAL_FORMS"] = 0
        response = self.client.post("/admin/orgadmin/organization/add/", data)
        self.assertEqual(response.status_code, 302)
        for cookie in response.cookies.values():
            self.assertNotIn("Acme", cookie.value)
        self.assertNotIn("messages", response.cookies)
        page = self.client.get("/admin/orgadmin/organization/")
        self.assertContains(page, "was added successfully")
