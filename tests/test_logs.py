import io
import json
import logging
import re
import socket
from unittest import mock

from django.db import OperationalError
from django.test import Client, TestCase, override_settings, tag
from django.urls import path

from orgadmin.logs import MAX_REQUEST_SIZE, LogFormatter
from orgadmin.models import Organization
from tests.urls import urlpatterns as pages

from .factories import create_organization, create_user

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
    *pages,
]


class LogCase(TestCase):
    def setUp(self):
        handler = logging.StreamHandler(io.StringIO())
        handler.setFormatter(
            LogFormatter(
                ["asctime", "levelname", "name", "message"], json_ensure_ascii=False
            )
        )
        for name in ("orgadmin", "django.request", "django.security"):
            logger = logging.getLogger(name)
            self.enterContext(
                mock.patch.multiple(
                    logger, handlers=[handler], level=logging.INFO, propagate=False
                )
            )
            logger.manager._clear_cache()
            self.addCleanup(logger.manager._clear_cache)
        self.stream = handler.stream
        self.client.raise_request_exception = False

    def read(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@override_settings(ROOT_URLCONF="tests.test_logs")
class RequestLogTests(LogCase):
    def test_a_request_is_one_line_with_its_key_and_its_users(self):
        acme = create_organization("Acme")
        ada = create_user("ada", admin_of=[acme])
        self.client.force_login(ada)
        url = f"/admin/orgadmin/organization/{acme.pk}/change/"
        with override_settings(TRUST_PROXY=True):
            response = self.client.get(
                url, headers={"X-Request-ID": "from-the-proxy-1"}
            )
        [line] = self.read()
        self.assertEqual(response.headers["X-Request-ID"], "from-the-proxy-1")
        self.assertEqual(line["request"], "from-the-proxy-1")
        self.assertEqual(
            (line["user"], line["status"], line["message"]), (ada.pk, 200, "GET")
        )
        self.assertEqual(
            line["route"], "admin/orgadmin/organization/<path:object_id>/change/"
        )
        self.assertGreater(line["ms"], 0)

    def test_a_key_that_is_none_or_not_a_proxys_is_not_taken(self):
        self.assertRegex(
            self.client.get("/livez", headers={"X-Request-ID": "x" * 9}).headers[
                "X-Request-ID"
            ],
            "[0-9a-f]{32}",
        )
        self.enterContext(override_settings(TRUST_PROXY=True))
        for sent in ("", "short", "x" * 65, "a b c d e f g", "zoë@example.com"):
            key = self.client.get("/livez", headers={"X-Request-ID": sent}).headers[
                "X-Request-ID"
            ]
            self.assertRegex(key, r"\A[0-9a-f]{32}\Z")

    @tag("D17")
    def test_nothing_of_a_person_is_in_a_line(self):
        create_user("zoe", email="zoe@example.com")
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
        logging.getLogger("orgadmin.mail").error("%s", {"zoe@example.com": (550, "no")})
        lines = "192.0.2.77, 2001:db8:0:0:1:2:3:4 and 2001:db8::77 left at 10:20:30"
        logging.getLogger("orgadmin.mail").error(lines)
        for text in (
            "Invalid HTTP request line: 'GET /admin/?q=Quist'",
            "Error handling request POST /admin/?q=Quist",
        ):
            logging.getLogger("orgadmin").error(text)
        logging.getLogger("orgadmin").error(
            "GET /admin/?q=Quist", extra={"request": socket.socket()}
        )  # runserver's
        for odd in ("Zo%C3%AB%20Quist/", "%0AQuist/", "%5CQuist/"):
            self.client.get(f"/admin/fail/{odd}")
        Client(enforce_csrf_checks=True).post(
            "/admin/login/",
            secure=True,
            headers={"Referer": "https://a.b/Quist?q=Quist"},
        )
        text = self.stream.getvalue()
        self.assertGreaterEqual(len(self.read()), 7)
        self.assertIn("ValueError", text)
        self.assertIn("left at 10:20:30", text)
        self.assertIsNone(
            re.search(r"zoe|zoë|quist|hunter2|192\.0\.2|2001:db8", text, re.IGNORECASE),
            text,
        )

    def test_an_error_tells_where_and_because_of_what(self):
        self.assertEqual(self.client.get("/admin/busy/").status_code, 503)
        error = next(line for line in self.read() if "exc_info" in line)
        self.assertIn("in fail_in_the_database", error["exc_info"])
        self.assertIn("django.db.utils.OperationalError", error["exc_info"])
        self.assertIn("builtins.ValueError", error["exc_info"])
        self.assertEqual(error["route"], "admin/busy/")

    def test_causes_that_go_round_in_circles_end(self):
        one, two = ValueError(), KeyError()
        one.__cause__, two.__cause__ = two, one
        self.assertIn(
            "KeyError", LogFormatter().formatException((ValueError, one, None))
        )


@override_settings(ROOT_URLCONF="tests.test_logs")
class AnswerTests(LogCase):
    def test_the_database_away_is_said_and_passes_by_itself(self):
        response = self.client.get("/admin/busy/")
        self.assertContains(response, "did not answer in time", status_code=503)
        self.assertEqual(response.headers["Retry-After"], "10")
        self.assertContains(
            self.client.get("/admin/fail/x/"),
            "Something went wrong here",
            status_code=500,
        )

    @tag("D13")
    def test_no_cache_keeps_a_page_whatever_its_status(self):
        acme = create_organization()
        for user in (
            None,
            create_user("ada", admin_of=[acme]),
            create_user("outsider"),
        ):
            if user:
                self.client.force_login(user)
            for url in (
                "/admin/",
                "/admin/login/",
                f"/admin/orgadmin/organization/{acme.pk}/change/",
                "/admin/x/",
                "/admin/orgadmin/organization/0/change/",
                "/admin/password_change/",
                "/admin/fail/x/",
                "/",
            ):
                with self.subTest(user=str(user), url=url):
                    self.assertIn(
                        "no-store", self.client.get(url).headers["Cache-Control"]
                    )

    @tag("E6")
    def test_a_request_that_is_too_large_is_refused_unread(self):
        self.client.force_login(create_user("root", is_superuser=True, is_staff=True))
        data = {"file": io.BytesIO(b"name\n" + b"x" * MAX_REQUEST_SIZE)}
        with mock.patch(
            "django.core.files.uploadhandler.TemporaryFileUploadHandler.new_file"
        ) as stored:
            response = self.client.post("/admin/orgadmin/organization/import/", data)
        self.assertEqual(response.status_code, 400)
        stored.assert_not_called()
        data = {"file": io.BytesIO(b"name\n" + b"x" * 2_000_000)}
        response = self.client.post("/admin/orgadmin/organization/import/", data)
        self.assertContains(response, "or 1.5 MB")
        self.assertFalse(Organization.objects.exists())

    def test_words_for_scripts_may_be_kept_for_an_hour_by_the_browser_alone(self):
        self.client.force_login(create_user("root", is_superuser=True, is_staff=True))
        headers = self.client.get("/admin/jsi18n/").headers
        self.assertEqual(headers["Cache-Control"], "private, max-age=3600")
        self.assertIn("Accept-Language", headers["Vary"])
        self.assertIn("Cookie", headers["Vary"])
