"""Tests in a real Chromium, against a real server."""

import os
import threading
from functools import cache

from django.conf import settings
from django.contrib.sessions.models import Session
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.test import Client, tag
from playwright.sync_api import expect, sync_playwright

from orgadmin.accounts.sessions.sessions import record_second_factor
from orgadmin.accounts.set_up_link import open_page
from orgadmin.models import User
from tests.__main__ import CHROMIUM

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Long, because many tests run at the same time.
TIMEOUT = 30_000  # milliseconds
PHONE = {"width": 390, "height": 844}
# The menu of the account, in any language
ACCOUNT_BUTTON = "[popovertarget=account-menu]"
# The script of the pages that lead to a company's server and back by themselves. People
# who confirm who they are see their menu there, too.
ROUND_TRIP = "head script[src*=round-trip]"
SIGN_OUT_BUTTON = "#account-menu #logout-form button"
DESKTOP = {"width": 1280, "height": 800}


@cache
def start_chromium():
    """Start a Chromium for all tests of this process. It ends with the process."""
    playwright = sync_playwright().start()
    expect.set_options(timeout=TIMEOUT)
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


class OneAtATime(StaticFilesHandler):
    """Answers requests one after the other.

    With SQLite in memory, all threads of the server share a connection, so two requests
    at the same time would use the same transaction. A real site has a connection for
    each thread.
    """

    lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            return super().__call__(environ, start_response)


@tag("browser")
class BrowserTestCase(StaticLiveServerTestCase):
    """Gives each test its own browser page, as `self.page`.

    A script error, a violation of the content security policy, or a request to another
    host fails the test.
    """

    static_handler = OneAtATime
    viewport = DESKTOP
    context = {}  # further options of the browser context
    other_servers = ()  # addresses of other servers that pages may call

    @classmethod
    def setUpClass(cls):
        # Playwright runs an event loop in this thread. The tests use the database
        # between its calls, never inside them.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
        super().setUpClass()
        cls.chromium = start_chromium()

    def setUp(self):
        super().setUp()
        self.page = self.open_page()

    def open_page(self, **options):
        """Open a page with its own cookies, as in another person's browser."""
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
        page.on("pageerror", self.fail_on_script_error)
        page.on("console", self.check_console_message)
        page.on("request", self.check_request)
        return page

    def fail_on_script_error(self, error):
        self.fail(f"script error: {error}")

    def check_console_message(self, message):
        self.assertNotIn("Content Security Policy", message.text)

    def check_request(self, request):
        is_allowed = request.url.startswith((self.live_server_url, *self.other_servers))
        self.assertTrue(is_allowed, request.url)

    def open_page_of(self, username, **options):
        """Open a page as someone who is signed in; without a name, as nobody."""
        page = self.open_page(**options)
        if username:
            self.start_session(page, username)
        return page

    def start_session(self, page, username):
        """Sign someone in without the sign-in pages."""
        cookie = {
            "name": settings.SESSION_COOKIE_NAME,
            "value": self.create_session(username),
            "url": self.live_server_url,
        }
        page.context.add_cookies([cookie])

    def create_session(self, username):
        """Return the cookie of a session as the sign-in pages would create it."""
        client = Client()
        user = User.objects.get(username=username)
        client.force_login(user, settings.AUTHENTICATION_BACKENDS[0])
        session = client.session
        factor = user.authenticator_set.first()
        if factor is not None:
            record_second_factor(session, factor)
        open_page(session)
        session.save()
        return client.cookies[settings.SESSION_COOKIE_NAME].value

    def change_session(self, **changes):
        """Change the times of the only session, as {name: seconds to add}."""
        session = Session.objects.get()
        store = session.get_session_store_class()(session.session_key)
        for name, seconds in changes.items():
            store[name] += seconds
        store.save()

    def sign_in(self, username, password="secret", page=None):
        page = page or self.page
        page.goto("/admin/")
        self.send_sign_in_form(page, username, password)
        self.expect_signed_in(page)

    def expect_signed_in(self, page):
        """Wait until the sign-in is over and a page shows the menu of the person."""
        arrived = page.locator(f"html:not(:has({ROUND_TRIP}))")
        expect(arrived.locator(ACCOUNT_BUTTON)).to_be_visible()

    def open_account(self, page):
        page.locator(ACCOUNT_BUTTON).click()
        page.locator("#account-menu").get_by_role("link").click()

    def sign_out(self, page):
        page.locator(ACCOUNT_BUTTON).click()
        page.locator(SIGN_OUT_BUTTON).click()

    def send_sign_in_form(self, page, username, password="secret"):
        """Fill in the sign-in form that a page shows, and send it."""
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
