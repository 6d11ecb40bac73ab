"""An OpenID provider on this machine.

It does what this site asks of a real one, and signs in everyone without a question.
Tests can make it do anything wrong.
"""

import json
import threading
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from config.providers import OpenIDProvider

CLIENT_ID = "orgadmin"
CLIENT_SECRET = "hush, which no other client knows"
KEY_ID = "first"

# In `token_changes` and `userinfo_changes`: the claim is not sent at all.
LEFT_OUT = object()


@cache
def make_key(name="provider", bits=2048):
    """Return a private key. The same name stands for the same key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def publish(key, **values):
    """Return the public half of a key as providers publish it."""
    published = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return published | {"kid": KEY_ID, "use": "sig"} | values


def sign(claims, key=None, algorithm="RS256", **header):
    """Return an ID token, as the provider signs it."""
    header = {"kid": KEY_ID} | header
    # Unlike jwt.encode(), this accepts any claims.
    payload = json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, key or make_key(), algorithm, header)


def change(claims, changes):
    changed = claims | changes
    return {name: value for name, value in changed.items() if value is not LEFT_OUT}


class Answer:
    """The wrong responses of the provider."""

    def __init__(self, content="", status=200, **headers):
        self.content = content if isinstance(content, str) else json.dumps(content)
        self.status = status
        self.headers = headers


class Provider(ThreadingHTTPServer):
    """See `identity_server`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.person = {}
        self.token_changes = {}
        self.userinfo_changes = {}
        self.discovery_changes = {}
        self.response_changes = {}
        self.answers = {}
        self.sign = sign
        self.keys = {"keys": [publish(make_key())]}
        self.visits = []
        self.codes = {}


@contextmanager
def identity_server():
    """Start a provider, and yield it.

    - `address`: its URL.
    - `person`: a dict, the claims about everyone who comes. Empty at first.
    - `token_changes`, `userinfo_changes`, `discovery_changes`, `response_changes`:
      dicts, what it says differently in one place. The last is its response to the
      browser.
    - `answers`: a dict {path: Answer}, or a function for a path that does the rest.
    - `sign`: makes an ID token of claims. `keys`: the keys that it publishes.
    - `visits`: the paths that were requested.
    """
    server = Provider()
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def describe_provider(server, **values):
    """Return a server of `identity_server` as the settings describe it."""
    described = {
        "id": "company",
        "name": "Example",
        "server": server.address,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        **values,
    }
    return OpenIDProvider(**described)


def company_settings(server, **values):
    """Return the settings for signing in with a server of `identity_server`."""
    return {"OIDC_PROVIDERS": [describe_provider(server, **values)]}


def leave(client, start, data=None, **extra):
    """Press the button of a provider, and return the URL there where it leads to."""
    page = client.get(client.post(start, data, **extra)["Location"])
    return page.context["onward_url"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        pages = {
            "/authorization": self.redirect_back,
            "/userinfo": self.tell_more,
            "/jwks": lambda: self.answer(self.server.keys),
            "/.well-known/openid-configuration": self.describe,
        }
        self.respond(url.path, pages)

    def do_POST(self):
        # Read before any answer: a server that closes a connection while there is
        # something to read resets it, and the answer can get lost.
        self.body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.respond(self.path, {"/token": self.issue_tokens})

    def respond(self, path, pages):
        self.server.visits.append(path)
        instead = self.server.answers.get(path)
        if isinstance(instead, Answer):
            self.send(instead)
        elif instead is not None:
            instead(self)
        elif path in pages:
            pages[path]()
        else:
            self.send_error(404)

    def describe(self):
        address = self.server.address
        document = {
            "issuer": address,
            "authorization_endpoint": f"{address}/authorization",
            "token_endpoint": f"{address}/token",
            "userinfo_endpoint": f"{address}/userinfo",
            "jwks_uri": f"{address}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
        self.answer(change(document, self.server.discovery_changes))

    def redirect_back(self):
        """Lead people back to the site: they are already signed in here."""
        query = dict(parse_qsl(urlsplit(self.path).query))
        code = f"code {len(self.server.codes)}"
        self.server.codes[code] = query
        response = {"code": code, "state": query["state"]}
        response = change(response, self.server.response_changes)
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(response)}")
        self.end_headers()

    def issue_tokens(self):
        sent = {name: values[0] for name, values in parse_qs(self.body).items()}
        if (sent.get("client_id"), sent.get("client_secret")) != self.known_client():
            self.answer({"error": "invalid_client"}, 401)
            return
        query = self.server.codes.pop(sent["code"], None)
        if query is None or not is_bound_to(query, sent):
            self.answer({"error": "invalid_grant"}, 400)
            return
        token = self.server.sign(self.make_claims(query["nonce"]))
        content = {"access_token": "a", "token_type": "Bearer", "id_token": token}
        self.answer(content)

    def known_client(self):
        return CLIENT_ID, CLIENT_SECRET

    def make_claims(self, nonce):
        claims = {
            "iss": self.server.address,
            "aud": CLIENT_ID,
            "iat": time.time(),
            "exp": time.time() + 60,
            "nonce": nonce,
        }
        return change(claims | self.server.person, self.server.token_changes)

    def tell_more(self):
        if self.headers["Authorization"] != "Bearer a":
            self.answer({"error": "invalid_token"}, 401)
            return
        self.answer(change(self.server.person, self.server.userinfo_changes))

    def answer(self, content, status=200):
        self.send(Answer(content, status))

    def send(self, answer):
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json"} | answer.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content.encode())

    def log_message(self, *args):
        """Keep the output of the tests free of requests."""


def is_bound_to(query, sent):
    """Return whether the site that sends a code is the one that asked for it."""
    digest = sha256(sent["code_verifier"].encode()).digest()
    challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
    return (
        query["code_challenge"] == challenge
        and query["redirect_uri"] == sent["redirect_uri"]
        and query["client_id"] == sent["client_id"]
    )
