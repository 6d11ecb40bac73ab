"""Tests in a real Chromium against a real server."""

import os
import time

from django.conf import settings
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.test import Client, tag
from playwright.sync_api import expect, sync_playwright

from orgadmin.models import User

from ..__main__ import CHROMIUM

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT = 10_000  # milliseconds
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


@tag("browser")
class BrowserTestCase(StaticLiveServerTestCase):
    """A page of its own for each test; a script error or a request to another host fails it."""

    viewport = DESKTOP
    context = {}  # further options of a browser context
    others = ()  # addresses of other servers that a page may ask

    @classmethod
    def setUpClass(cls):
        # Playwright's own loop runs in this thread; the tests use the database between its calls, never within.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
        super().setUpClass()
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        cls.chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        cls.addClassCleanup(cls.chromium.close)
        expect.set_options(timeout=TIMEOUT)

    def setUp(self):
        super().setUp()
        self.page = self.open_page()

    def open_page(self, **options):
        """Open a page with cookies of its own, as another person's browser."""
        options = {
            "viewport": self.viewport,
            "base_url": self.live_server_url,
            **self.context,
            **options,
        }
        context = self.chromium.new_context(**options)
        self.addCleanup(context.close)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.on("pageerror", lambda error: self.fail(f"script error: {error}"))
        page.on(
            "console",
            lambda message: self.assertNotIn("Content Security Policy", message.text),
        )
        known = lambda url: url.startswith((self.live_server_url, *self.others))  # noqa: E731
        page.on(
            "request", lambda request: self.assertTrue(known(request.url), request.url)
        )
        return page

    def open_page_of(self, username, **options):
        """Open a page as somebody who is signed in, or as nobody if there is no name."""
        page = self.open_page(**options)
        if username:
            client = Client()
            user = User.objects.get(username=username)
            client.force_login(user, settings.AUTHENTICATION_BACKENDS[0])
            session = client.session  # as after the pages of signing in
            session.update(
                {
                    "signed_in": time.time(),
                    "second_factor": user.authenticator_set.exists(),
                }
            )
            session.save()
            cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
            page.context.add_cookies(
                [
                    {
                        "name": settings.SESSION_COOKIE_NAME,
                        "value": cookie,
                        "url": self.live_server_url,
                    }
                ]
            )
        return page

    def sign_in(self, username, password="secret", page=None):
        page = page or self.page
        page.goto("/admin/")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Sign out")).to_be_visible()
