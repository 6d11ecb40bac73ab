"""Real servers, started as docs/operations.md says, and people who use them."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import unescape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import urllib3

from tests.scratch import PROJECT

LOGIN = "/admin/login/"
LIST = "/admin/orgadmin/organization/"
COMMAND = [
    sys.executable,
    "-m",
    "gunicorn",
    "--config",
    "docs/deployment/gunicorn.conf.py",
    "config.wsgi",
]


@contextmanager
def serve(
    environment: Mapping[str, str],
    workers: int = 1,
    log: Any = subprocess.DEVNULL,
    prefix: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run gunicorn on a free port, and yield its process.

    Its `address` is (host, port). The server may still be starting; early connections
    wait until it is ready. Its output goes to the file `log`. The words of `prefix`
    come before its command.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        options = [
            "--bind",
            f"fd://{listener.fileno()}",
            "--workers",
            str(workers),
            "--graceful-timeout",
            "5",
        ]
        process = subprocess.Popen(
            [*prefix, *COMMAND, *options],
            env=environment,
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
        process.address = listener.getsockname()
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


class Person:
    """Someone with a browser that keeps cookies and its connection.

    The browser follows no redirects, and never sends a request twice.
    """

    def __init__(
        self, address: tuple[str, int], cookies: Mapping[str, str] | None = None
    ) -> None:
        self.cookies = dict(cookies or {})
        self.pool = urllib3.HTTPConnectionPool(
            *address, maxsize=1, timeout=60, retries=False
        )

    def ask(self, method, path, body=None, headers=()):
        """Return the response, with its content as `text`.

        Raises urllib3's `HTTPError` if there is no response.
        """
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookie, "Accept-Encoding": "gzip", **dict(headers)}
        response = self.pool.urlopen(method, path, body, sent, redirect=False)
        for header in response.headers.getlist("Set-Cookie"):
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
        # Workbooks are not text.
        response.text = response.data.decode(errors="replace")
        return response

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, data, files=(), headers=()):
        """Send a form, as multipart if it has files."""
        fields = {**data, "csrfmiddlewaretoken": self.cookies["csrftoken"]}
        if files:
            fields |= dict(files)
            body, content_type = urllib3.encode_multipart_formdata(fields)
        else:
            body = urlencode(fields)
            content_type = "application/x-www-form-urlencoded"
        sent = {"Content-Type": content_type, **dict(headers)}
        return self.ask("POST", path, body, sent)

    def sign_in(
        self, username: str, password: str = "secret", page: str = LOGIN
    ) -> bool:
        """Sign in, and return whether that worked."""
        self.get(page)
        response = self.post(page, {"username": username, "password": password})
        return response.status == 302


def read_form(page: str) -> dict[str, str]:
    """Return the fields of a form as a browser would send them unchanged.

    Buttons and checkboxes are left out.
    """
    page = re.sub(r'<input type="(?:submit|checkbox)"[^>]*>', "", page)
    inputs = re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', page)
    textareas = re.findall(
        r'<textarea[^>]* name="([^"]+)"[^>]*>\r?\n?([^<]*)</textarea>', page
    )
    fields = {}
    for name, value in inputs + textareas:
        if not name.startswith("_"):
            fields[name] = unescape(value)
    return fields
