"""An OpenID provider on this machine.

It does what this site asks of a real one, and signs in everyone without a question.
"""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt


@contextmanager
def identity_server():
    """Start a provider, and yield it.

    - `address`: its URL.
    - `person`: a dict, the claims about everyone who comes. Empty at first.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.person = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/authorization":
            self.redirect_back(parse_qs(url.query))
        elif url.path == "/userinfo":
            self.answer(self.server.person)
        elif url.path == "/.well-known/openid-configuration":
            self.answer(self.describe())
        else:
            self.send_error(404)

    def do_POST(self):
        """Answer a request for a token."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "client_secret=hush" not in body or "code=good" not in body:
            return self.answer({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.server.address,
            "aud": "orgadmin",
            "iat": time.time(),
            "exp": time.time() + 60,
        }
        token = jwt.encode(claims | self.server.person, "k" * 32)
        self.answer({"access_token": "a", "token_type": "Bearer", "id_token": token})

    def describe(self):
        address = self.server.address
        return {
            "issuer": address,
            "authorization_endpoint": f"{address}/authorization",
            "token_endpoint": f"{address}/token",
            "userinfo_endpoint": f"{address}/userinfo",
            "jwks_uri": f"{address}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def redirect_back(self, query):
        """Lead people back to the site: they are already signed in here."""
        redirect_uri = query["redirect_uri"][0]
        state = query["state"][0]
        self.send_response(302)
        self.send_header("Location", f"{redirect_uri}?code=good&state={state}")
        self.end_headers()

    def answer(self, content, status=200):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args):
        """Keep the output of the tests free of requests."""
