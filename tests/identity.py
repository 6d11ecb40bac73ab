"""A server that people sign in with by OpenID Connect: a real one as far as this site talks with it, on loopback."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt


@contextmanager
def identity_server():
    """Start a server; yield it. It says of whoever comes what its `person` holds; `address` is its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address, server.person, server.seen = (
        f"http://127.0.0.1:{server.server_port}",
        {},
        [],
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        own = self.server.address
        answers = {
            "/.well-known/openid-configuration": {
                "issuer": own,
                **{
                    f"{name}_endpoint": f"{own}/{name}"
                    for name in ("authorization", "token", "userinfo")
                },
                "jwks_uri": f"{own}/jwks",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            },
            "/userinfo": self.server.person,
        }
        to = urlsplit(self.path)
        if to.path == "/authorization":  # whoever comes is somebody there already
            sent = parse_qs(to.query)
            self.send_response(302)
            self.send_header(
                "Location",
                f"{sent['redirect_uri'][0]}?code=good&state={sent['state'][0]}",
            )
            self.end_headers()
        else:
            self.answer(answers[self.path])

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append(form)
        if "client_secret=hush" not in form or "code=good" not in form:
            return self.answer({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.server.address,
            "aud": "orgadmin",
            "iat": time.time(),
            "exp": time.time() + 60,
        }
        token = jwt.encode(claims | self.server.person, "k" * 32)
        self.answer({"access_token": "a", "token_type": "Bearer", "id_token": token})

    def answer(self, content, status=200):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args):
        pass
