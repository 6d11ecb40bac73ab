"""Real servers, as docs/operations.md starts them, and people in front of them."""

import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from html import unescape
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import urllib3

from .scratch import PROJECT

LOGIN, LIST = "/admin/login/", "/admin/orgadmin/organization/"
COMMAND = [
    sys.executable,
    "-m",
    "gunicorn",
    "--config",
    "docs/deployment/gunicorn.conf.py",
    "config.wsgi",
]


@contextmanager
def serve(environment, workers=1, log=subprocess.DEVNULL):
    """Run gunicorn on a free port; yield its process, whose `address` is (host, port), while it may still be starting:
    who comes early waits. What it says goes to the file `log`."""
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
            COMMAND + options,
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
    """Somebody with a browser that keeps cookies and connections, and sends nothing twice."""

    def __init__(self, address, cookies=()):
        self.cookies = dict(cookies)
        self.pool = urllib3.HTTPConnectionPool(
            *address, maxsize=1, timeout=60, retries=False
        )

    def ask(self, method, path, body=None, headers=()):
        """Return the answer, with its `text`. Raises urllib3's HTTPError where there is none."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookie, "Accept-Encoding": "gzip", **dict(headers)}
        answer = self.pool.urlopen(method, path, body, sent, redirect=False)
        for value in answer.headers.getlist("Set-Cookie"):
            self.cookies.update(
                {name: morsel.value for name, morsel in SimpleCookie(value).items()}
            )
        answer.text = answer.data.decode()
        return answer

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, data, files=()):
        data = {**data, "csrfmiddlewaretoken": self.cookies["csrftoken"]}
        if files:
            body, kind = urllib3.encode_multipart_formdata({**data, **dict(files)})
        else:
            body, kind = urlencode(data), "application/x-www-form-urlencoded"
        return self.ask("POST", path, body, {"Content-Type": kind})

    def sign_in(self, username, password="secret", page=LOGIN):
        """Tell whether it was possible."""
        self.get(page)
        return (
            self.post(page, {"username": username, "password": password}).status == 302
        )


def read_form(page):
    """Return what the browser would send of a form that nobody changed: {name: value}; buttons and boxes left out."""
    fields = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', page))
    fields |= dict(
        re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\r?\n?([^<]*)</textarea>', page)
    )
    return {
        name: unescape(value)
        for name, value in fields.items()
        if not name.startswith("_")
    }
