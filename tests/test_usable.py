"""No page offers a link or a button that the person cannot use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.db import transaction
from django.test import Client, TestCase, override_settings

from .factories import REVIEWER, create_user, set_role
from .test_matrix import World, read

MAX_PAGES = 600

# Pages of a person's own account, which other tests open, and signing out.
LEFT_OUT = re.compile(
    r"/admin/(logout|account|activity|language|jsi18n|password_change|confirm-email"
    r"|second-factor|stay-signed-in|sign-out-elsewhere)"
)

MISSING = "or you no longer have access to it"


@dataclass
class Form:
    """A form of a page: what a browser would send with each of its buttons."""

    url: str
    method: str
    fields: dict[str, list[str]]
    buttons: list[tuple[str, str]]


class PageParser(HTMLParser):
    """Collects the links and the forms of a page."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.url = url
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.form: Form | None = None
        self.select = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "a" and attributes.get("href"):
            self.links.append(urljoin(self.url, attributes["href"]))
        elif tag == "form":
            url = urljoin(self.url, attributes.get("action") or self.url)
            method = attributes.get("method", "get").lower()
            self.form = Form(url, method, {}, [])
            self.forms.append(self.form)
        elif self.form is not None:
            self._read_field(tag, attributes)

    def _read_field(self, tag, attributes):
        name = attributes.get("name") or ""
        value = attributes.get("value") or ""
        kind = attributes.get("type", "submit" if tag == "button" else "text")
        if kind == "submit" and tag in ("button", "input"):
            self.form.buttons.append((name, value))
        elif tag == "select":
            self.select = name
        elif tag == "option" and "selected" in attributes and self.select:
            self.form.fields.setdefault(self.select, []).append(value)
        elif tag in ("input", "textarea") and name:
            if kind in ("checkbox", "radio") and "checked" not in attributes:
                return
            self.form.fields.setdefault(name, []).append(value)

    def handle_endtag(self, tag):
        if tag == "form":
            self.form = None


def simplify(url: str) -> str:
    """Return a URL without the numbers in it: one page of each kind is enough."""
    parts = urlsplit(url)
    query = re.sub(r"=[^&]*", "", parts.query)
    return f"{re.sub(r'[0-9]+', 'N', parts.path)}?{query}"


@override_settings(SECOND_FACTOR="optional")
class UsableTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.world = World()
        cls.users = {
            name: cls.world.users[name]
            for name in (
                "reviewer",
                "admin",
                "delegated viewer",
                "delegated user manager",
                "superuser",
            )
        }
        # The only admin of an organization, and one of several.
        another = create_user("second admin", admin_of=[cls.world.own])
        set_role(cls.world.foreign, [another], REVIEWER)

    def crawl(self, user) -> Iterator[tuple[str, str, Client]]:
        """Yield (URL, text, client) of a page of each kind that the user can reach."""
        client = Client()
        client.force_login(user)
        remaining = ["/admin/"]
        seen = set()
        while remaining and len(seen) < MAX_PAGES:
            url = remaining.pop(0)
            key = simplify(url)
            if key in seen or LEFT_OUT.match(url) or not url.startswith("/admin/"):
                continue
            seen.add(key)
            response = client.get(url, follow=True)
            text = read(response)
            self.assert_usable(url, response, text)
            if "text/html" not in response["Content-Type"]:
                continue
            yield url, text, client
            remaining += PageParser(url.split("#")[0], text).links

    def assert_usable(self, what, response, text):
        with self.subTest(what):
            self.assertNotIn(response.status_code, (403, 404, 500))
            self.assertNotIn(MISSING, text)

    def test_every_link_and_every_button_can_be_used(self):
        for name, user in self.users.items():
            pages = 0
            tried: set[tuple] = set()
            with self.subTest(name):
                for url, text, client in self.crawl(user):
                    pages += 1
                    for form in PageParser(url.split("#")[0], text).forms:
                        self.press_buttons(client, user, url, form, tried)
                # User managers have the home page, their account, the list of people
                # and the pages of a person.
                self.assertGreaterEqual(pages, 5, name)

    def press_buttons(self, client, user, page, form, tried):
        if LEFT_OUT.match(form.url):
            return
        for button, value in form.buttons:
            key = (simplify(form.url), button, value, *sorted(form.fields))
            if key in tried:
                continue
            tried.add(key)
            data = form.fields | ({button: [value]} if button else {})
            before = transaction.savepoint()
            if form.method == "post":
                response = client.post(form.url, data, follow=True)
            else:
                response = client.get(form.url, data, follow=True)
            what = f"{page}: {form.method} {form.url} {button}={value}"
            self.assert_usable(what, response, read(response))
            transaction.savepoint_rollback(before)
            client.force_login(user)
