"""Reading the forms of a page, and sending them as a browser would."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

from django.test import Client

ORIGIN = "http://testserver"
NOT_SENT = ("submit", "button", "reset", "file")


class FormParser(HTMLParser):
    """Collects the forms of a page, each as {name: [values]}."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[dict[str, list[str]]] = []
        self._fields: dict[str, list[str]] | None = None
        self._textarea = ""  # the name of the one that is being read
        self._select = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        if tag == "form":
            self._fields = {}
            self.forms.append(self._fields)
        elif self._fields is None:
            return
        elif tag == "input":
            self._read_input(name, attributes)
        elif tag == "textarea":
            self._textarea = name
            self._fields[name] = [""]
        elif tag == "select":
            self._select = name
            self._fields[name] = []
        elif tag == "option" and "selected" in attributes:
            self._fields[self._select].append(attributes.get("value") or "")

    def _read_input(self, name, attributes):
        kind = attributes.get("type")
        is_box = kind in ("checkbox", "radio")
        if not name or kind in NOT_SENT or (is_box and "checked" not in attributes):
            return
        value = attributes.get("value") or ("on" if is_box else "")
        self._fields.setdefault(name, []).append(value)

    def handle_data(self, data):
        if self._textarea:
            # A browser ignores a line break at the beginning.
            text = self._fields[self._textarea][0] + data
            self._fields[self._textarea] = [text.removeprefix("\n")]

    def handle_endtag(self, tag):
        if tag == "textarea":
            self._textarea = ""
        elif tag == "form":
            self._fields = None


def read_forms(response) -> list[dict[str, list[str]]]:
    return FormParser(response.content.decode()).forms


def list_forms_with(response, field: str) -> Iterator[dict[str, list[str]]]:
    for form in read_forms(response):
        if field in form:
            yield form


def read_form(response, field: str = "form_key") -> dict[str, list[str]]:
    """Return the last form of a page that has a field."""
    return list(list_forms_with(response, field))[-1]


class Browser(Client):
    """A client that sends the tokens of the pages, as browsers do."""

    def __init__(self, **options):
        super().__init__(enforce_csrf_checks=True, **options)

    def send(self, url, fields, **options):
        """Send the fields of a form, with the header that browsers add."""
        return self.post(url, fields, headers={"Origin": ORIGIN}, **options)

    def sign_in(self, username="ada", password="secret", page="/admin/login/"):
        form = read_form(self.get(page), "password")
        form |= {"username": [username], "password": [password]}
        return self.send("/admin/login/", form)
