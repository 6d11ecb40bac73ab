"""The sign-in page with each way to sign in, and with each reason that it shows.

Set PICTURES to a folder to have a screenshot of each.
"""

import os
from dataclasses import replace
from pathlib import Path

from axe_playwright_python.base import AXE_SCRIPT
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.test import override_settings
from playwright.sync_api import expect

from config.providers import OpenIDProvider
from orgadmin.accounts.company.failure_messages import (
    TEXTS,
    Kind,
    Problem,
    store_problem,
)
from orgadmin.people.invitations import invite
from tests.browser import BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.browser.test_accessibility import AXE
from tests.factories import REVIEWER, create_organization, create_user
from tests.mailing import read_link, send_invitation

PROVIDER = OpenIDProvider("company", "Example ID", "https://id.example.com", "a", "b")
LONG_NAME = "Verband der Wasserwirtschaftsgenossenschaften Nordrhein-Westfalen"
SEVERAL = [PROVIDER, replace(PROVIDER, id="partner", name=LONG_NAME)]
# {name: (providers, whether there are passkeys)}
WAYS = {
    "password": ([], False),
    "passkey": ([], True),
    "provider": ([PROVIDER], False),
    "provider-passkey": ([PROVIDER], True),
    "providers-passkey": (SEVERAL, True),
}
WIDTHS = (320, 1280)
# A desktop's scrollbar is up to 17 px wide. Chromium has none in tests.
BESIDE_SCROLLBAR = {"width": 320 - 17, "height": 800}
LANGUAGES = ("en", "de")
WRONG_PASSWORD = "wrong password"


class SignInPageTests(BrowserTestCase):
    def setUp(self):
        super().setUp()
        self.findings = []

    def test_each_way_to_sign_in(self):
        for name, (providers, has_passkeys) in WAYS.items():
            self.use(providers, has_passkeys=has_passkeys)
            for language in LANGUAGES:
                self.look(name, language)
        self.assertFalse(self.findings, "\n" + "\n".join(self.findings))

    def test_a_small_window_with_a_scrollbar(self):
        self.use(SEVERAL, has_passkeys=True)
        page = self.open_page(viewport=BESIDE_SCROLLBAR)
        self.show_problem(page, Kind.UNKNOWN)
        page.goto("/admin/login/")
        button = page.get_by_role("button", name="Use another account")
        expect(button).to_be_visible()
        self.assertFalse(page.evaluate(WIDER_THAN_WINDOW))

    def test_each_problem(self):
        self.use([PROVIDER], has_passkeys=True)
        for kind in [*TEXTS, WRONG_PASSWORD]:
            for language in LANGUAGES:
                self.look(str(kind).replace(" ", "-"), language, kind)
        self.assertFalse(self.findings, "\n" + "\n".join(self.findings))

    def test_the_pages_around_it(self):
        self.use([PROVIDER], has_passkeys=False)
        acme = create_organization("Acme")
        ada = create_user("ada", admin_of=[acme])
        ada.set_unusable_password()
        ada.save()
        create_user("nora", email="nora@example.com")
        addresses = {
            "invitation": ("", self.invite(acme, ada, "new@example.com")),
            "invitation-known": ("", self.invite(acme, ada, "nora@example.com")),
            "signed-out": ("", "/admin/oidc/company/signed-out/"),
            "no-password": ("ada", "/admin/password_change/"),
        }
        for name, (username, address) in addresses.items():
            for language in LANGUAGES:
                self.look_at(name, language, username, address)
        self.enterContext(override_settings(ALLOW_FIRST_PASSWORD=True))
        self.look_at("first-password", "en", "ada", "/admin/password_change/")
        self.assertFalse(self.findings, "\n" + "\n".join(self.findings))

    def invite(self, organization, actor, email):
        """Return the address in the link of an invitation."""
        send_invitation(invite(organization, email, REVIEWER, actor=actor))
        return read_link()

    def look_at(self, name, language, username, address):
        page = self.open_page_of(username, locale=language)
        page.goto(address)
        page.evaluate(AXE_SCRIPT)
        self.check_widths(page, f"{name}-{language}")

    def use(self, providers, *, has_passkeys):
        changes = {
            "ACCESS_CONTACT": "servicedesk@example.com",
            "BASE_URL": self.live_server_url,
            "OIDC_PROVIDERS": providers,
            "SECOND_FACTOR": "optional" if has_passkeys else "off",
        }
        self.enterContext(override_settings(**changes))

    def look(self, name, language, kind=None):
        page = self.open_page(
            locale=language,
            color_scheme="dark" if language == "de" else "light",
        )
        if kind in TEXTS:
            self.show_problem(page, kind)
        page.goto("/admin/login/?next=/admin/")
        if kind == WRONG_PASSWORD:
            page.locator("#id_username").fill("ada")
            page.locator("#id_password").fill("wrong")
            page.locator("#login-form [type=submit]").click()
        page.evaluate(AXE_SCRIPT)
        self.check_widths(page, f"{name}-{language}")

    def check_widths(self, page, name):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            self.check(page, f"{name}-{width}")

    def check(self, page, name):
        for violation in page.evaluate("options => axe.run(options)", AXE)[
            "violations"
        ]:
            self.findings.append(f"{name}: {violation['id']} {violation['nodes']}")
        if page.evaluate(WIDER_THAN_WINDOW):
            self.findings.append(f"{name}: scrolls sideways")
        folder = os.environ.get("PICTURES")
        if folder:
            page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)

    def show_problem(self, page, kind):
        """Give a visitor the session of someone who could not sign in."""
        email = "a.very.long.address.of.somebody@subsidiary.example.com"
        session = SessionStore()
        store_problem(Problem(kind, PROVIDER.id, PROVIDER.name, email), session)
        session.create()
        cookie = {
            "name": settings.SESSION_COOKIE_NAME,
            "value": session.session_key,
            "url": self.live_server_url,
        }
        page.context.add_cookies([cookie])
