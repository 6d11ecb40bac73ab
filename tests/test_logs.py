import io
import json
import logging
import re
import socket
import time
from unittest import mock

from django.conf import settings
from django.db import OperationalError
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag
from django.urls import path

from orgadmin.accounts.sessions.session_store import SessionStore
from orgadmin.logs import MAX_REQUEST_SIZE, LogFormatter, WithoutStaticFiles
from orgadmin.models import Organization
from tests.factories import create_organization, create_superuser, create_user
from tests.log_capture import lines_sent_to
from tests.urls import urlpatterns as site_urlpatterns

# What someone typed, which an error then quotes.
TYPED = "Zoë Quist typed zoe@example.com"


def fail(request, token):
    raise ValueError(TYPED)


def fail_in_the_database(request):
    try:
        raise ValueError(TYPED)
    except ValueError as error:
        raise OperationalError(TYPED) from error


handler500 = "orgadmin.health.server_error"
urlpatterns = [
    path("admin/fail/<str:token>/", fail),
    path("admin/busy/", fail_in_the_database),
    *site_urlpatterns,
]


class LogCase(TestCase):
    """A test that reads the log, and sees error pages instead of exceptions."""

    def setUp(self):
        self.client.raise_request_exception = False
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(
            LogFormatter(
                ["asctime", "levelname", "name", "message"], json_ensure_ascii=False
            )
        )
        names = ("orgadmin", "django.request", "django.security")
        self.enterContext(lines_sent_to(handler, *names))

    def read_log(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@override_settings(ROOT_URLCONF="tests.test_logs")
class RequestLogTests(LogCase):
    def get_request_id(self, **headers):
        return self.client.get("/livez", headers=headers).headers["X-Request-ID"]

    def test_a_request_is_one_line_with_its_id_and_its_user(self):
        acme = create_organization("Acme")
        ada = create_user("ada", admin_of=[acme])
        self.client.force_login(ada)
        url = f"/admin/orgadmin/organization/{acme.pk}/change/"
        request_id = "from-the-proxy-1"
        with override_settings(TRUST_PROXY=True):
            response = self.client.get(url, headers={"X-Request-ID": request_id})
        [line] = self.read_log()
        self.assertEqual(response.headers["X-Request-ID"], request_id)
        self.assertEqual(line["request"], request_id)
        self.assertEqual(line["user"], ada.pk)
        self.assertEqual(line["status"], 200)
        self.assertEqual(line["message"], "GET")
        self.assertEqual(
            line["route"], "admin/orgadmin/organization/<path:object_id>/change/"
        )
        self.assertGreater(line["ms"], 0)

    def test_accepts_an_id_from_a_trusted_proxy_only_if_it_looks_like_one(self):
        self.assertRegex(
            self.get_request_id(**{"X-Request-ID": "x" * 9}), r"\A[0-9a-f]{32}\Z"
        )
        self.enterContext(override_settings(TRUST_PROXY=True))
        for sent in ("", "short", "x" * 65, "a b c d e f g", "zoë@example.com"):
            self.assertRegex(
                self.get_request_id(**{"X-Request-ID": sent}), r"\A[0-9a-f]{32}\Z"
            )

    @tag("D17")
    def test_no_line_contains_anything_personal(self):
        create_user("zoe", email="zoe@example.com")
        self.send_requests_that_name_people()
        self.log_messages_that_name_people()
        text = self.stream.getvalue()
        self.assertGreaterEqual(len(self.read_log()), 7)
        self.assertIn("ValueError", text)
        self.assertIn("left at 10:20:30", text)
        self.assertIsNone(
            re.search(r"zoe|zoë|quist|hunter2|192\.0\.2|2001:db8", text, re.IGNORECASE),
            text,
        )

    @tag("D17")
    def test_a_long_word_is_searched_once(self):
        """Visitors choose some words, such as the Host header."""
        started = time.perf_counter()
        logging.getLogger("orgadmin").error("%s zoe@quist.example", "x" * 100_000)
        self.assertLess(time.perf_counter() - started, 2)
        self.assertNotIn("quist", self.stream.getvalue())

    def send_requests_that_name_people(self):
        self.client.post(
            "/admin/login/",
            {"username": "zoe", "password": "hunter2"},
            REMOTE_ADDR="192.0.2.77",
        )
        self.client.get("/admin/orgadmin/organization/?q=Quist")
        self.client.get("/admin/invitation/token-Quist/")
        self.client.get("/admin/nothing/Quist/")
        self.client.get("/admin/fail/Quist/", REMOTE_ADDR="2001:db8::77")
        self.client.get("/admin/", headers={"host": "zoe@quist.example"})
        self.client.force_login(create_user("ada", admin_of=[create_organization()]))
        self.client.get("/admin/orgadmin/organization/?Zoe+Quist=1")
        # The error about this parameter quotes it.
        self.client.get("/admin/orgadmin/organization/export/?Zoe+Quist=1")
        for odd in ("Zo%C3%AB%20Quist/", "%0AQuist/", "%5CQuist/"):
            self.client.get(f"/admin/fail/{odd}")
        # Is refused because of the Referer, which the log message then quotes.
        Client(enforce_csrf_checks=True).post(
            "/admin/login/",
            secure=True,
            headers={"Referer": "https://a.b/Quist?q=Quist"},
        )

    def log_messages_that_name_people(self):
        mail_logger = logging.getLogger("orgadmin.mail")
        mail_logger.error("%s", {"zoe@example.com": (550, "no")})
        mail_logger.error(
            "192.0.2.77, 2001:db8:0:0:1:2:3:4 and 2001:db8::77 left at 10:20:30"
        )
        logger = logging.getLogger("orgadmin")
        logger.error("Invalid HTTP request line: 'GET /admin/?q=Quist'")
        logger.error("Error handling request POST /admin/?q=Quist")
        # As Django's development server does.
        logger.error("GET /admin/?q=Quist", extra={"request": socket.socket()})

    def test_an_error_is_logged_with_its_place_and_its_cause(self):
        self.assertEqual(self.client.get("/admin/busy/").status_code, 503)
        line = next(line for line in self.read_log() if "exc_info" in line)
        self.assertIn("in fail_in_the_database", line["exc_info"])
        self.assertIn("django.db.utils.OperationalError", line["exc_info"])
        self.assertIn("builtins.ValueError", line["exc_info"])
        self.assertEqual(line["route"], "admin/busy/")

    def test_causes_that_go_round_in_circles_end(self):
        error = ValueError()
        cause = KeyError()
        error.__cause__ = cause
        cause.__cause__ = error
        self.assertIn(
            "KeyError", LogFormatter().formatException((ValueError, error, None))
        )


@override_settings(ROOT_URLCONF="tests.test_logs")
class ResponseTests(LogCase):
    def test_a_database_that_does_not_answer_is_a_temporary_error(self):
        response = self.client.get("/admin/busy/")
        self.assertContains(response, "did not respond in time", status_code=503)
        self.assertEqual(response.headers["Retry-After"], "10")

    @tag("D10")
    def test_a_page_has_the_policies_of_the_site_wherever_an_error_occurs(self):
        with mock.patch.object(SessionStore, "load", side_effect=OperationalError):
            self.client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
            response = self.client.get("/admin/")
        self.assertEqual(response.status_code, 503)
        self.assert_has_policies(response)

    def assert_has_policies(self, response):
        self.assertIn("form-action", response["Content-Security-Policy"])
        self.assertIn("camera", response["Permissions-Policy"])
        self.assertEqual(response["X-Frame-Options"], "DENY")

    def test_any_other_error_is_ours(self):
        self.assertContains(
            self.client.get("/admin/fail/x/"),
            "Something went wrong",
            status_code=500,
        )

    @tag("D13")
    def test_caches_may_store_no_page_whatever_its_status(self):
        acme = create_organization()
        urls = [
            "/admin/",
            "/admin/login/",
            f"/admin/orgadmin/organization/{acme.pk}/change/",
            "/admin/x/",
            "/admin/orgadmin/organization/0/change/",
            "/admin/password_change/",
            "/admin/fail/x/",
            "/",
        ]
        self.assert_not_stored(urls)
        self.client.force_login(create_user("ada", admin_of=[acme]))
        self.assert_not_stored(urls)
        self.client.force_login(create_user("outsider"))
        self.assert_not_stored(urls)

    def assert_not_stored(self, urls):
        for url in urls:
            with self.subTest(url=url):
                headers = self.client.get(url).headers
                self.assertIn("no-store", headers["Cache-Control"])

    def import_file(self, size):
        file = io.BytesIO(b"name\n" + b"x" * size)
        return self.client.post("/admin/orgadmin/organization/import/", {"file": file})

    @tag("E6")
    def test_refuses_a_request_that_is_too_large_without_reading_it(self):
        self.client.force_login(create_superuser())
        with mock.patch(
            "django.core.files.uploadhandler.TemporaryFileUploadHandler.new_file"
        ) as new_file:
            response = self.import_file(MAX_REQUEST_SIZE)
        self.assertEqual(response.status_code, 400)
        new_file.assert_not_called()
        self.assert_has_policies(response)

    @tag("E6")
    def test_says_so_if_a_file_is_larger_than_the_import_page_accepts(self):
        self.client.force_login(create_superuser())
        response = self.import_file(21_000_000)
        self.assertContains(
            response, "The file has 21.0 MB, and at most 20.0 MB can be imported."
        )
        self.assertFalse(Organization.objects.exists())

    def test_only_the_browser_may_keep_the_words_of_scripts_for_an_hour(self):
        self.client.force_login(create_superuser())
        headers = self.client.get("/admin/jsi18n/").headers
        self.assertEqual(headers["Cache-Control"], "private, max-age=3600")
        self.assertIn("Accept-Language", headers["Vary"])
        self.assertIn("Cookie", headers["Vary"])


class WithoutStaticFilesTests(SimpleTestCase):
    def test_lines_of_runserver_about_files_that_it_found_are_left_out(self):
        rows = [
            # (request, status, level, whether the line is kept)
            ("GET /static/admin/css/base.css HTTP/1.1", 200, logging.INFO, False),
            ("GET /static/admin/css/base.css HTTP/1.1", 304, logging.INFO, False),
            ("GET /static/missing.css HTTP/1.1", 404, logging.WARNING, True),
            ("GET /admin/ HTTP/1.1", 200, logging.INFO, True),
            ("GET /admin/login/?next=/static/ HTTP/1.1", 200, logging.INFO, True),
        ]
        for request, status, level, is_kept in rows:
            arguments = (request, status, "7")
            line = logging.LogRecord(
                "django.server", level, "", 0, '"%s" %s %s', arguments, None
            )
            with self.subTest(request):
                self.assertEqual(WithoutStaticFiles().filter(line), is_kept)

    def test_other_lines_are_kept(self):
        line = logging.LogRecord("django.server", logging.INFO, "", 0, "x", (), None)
        self.assertTrue(WithoutStaticFiles().filter(line))
