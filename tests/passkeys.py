"""A software authenticator: makes and uses passkeys, as browsers and devices do."""

import json
import struct
from hashlib import sha256
from secrets import token_bytes
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

SITE = "https://orgs.example.com"

PRESENT = AuthenticatorData.FLAG.UP
VERIFIED = AuthenticatorData.FLAG.UV
ATTESTED = AuthenticatorData.FLAG.AT


class Device:
    """A device that keeps one passkey.

    The attributes are what a test may change: the site on which the browser shows the
    page, whether the device asks for a PIN, and how often it has signed. A device that
    does not count, because it shares its passkeys with others, always says 0.
    """

    def __init__(self, *, counts=False):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential_id = token_bytes(16)
        self.user_handle = None
        self.origin = SITE
        self.domain = None  # where it is not that of the origin
        self.asks_for_pin = True
        self.is_framed = False
        self.counts = counts
        self.counter = 0

    def make(self, options):
        """Return the answer to the options of a page that adds a passkey."""
        public_key = options["publicKey"]
        self.user_handle = public_key["user"]["id"]
        data = AttestedCredentialData.create(
            bytes(16),
            self.credential_id,
            ES256.from_cryptography_key(self.key.public_key()),
        )
        return self.answer(
            clientDataJSON=self.describe("webauthn.create", public_key["challenge"]),
            attestationObject=AttestationObject.create(
                "none", self.sign_in_data(ATTESTED, data), {}
            ),
        )

    def use(self, options, **changes):
        """Return the answer to the options of a page that asks for a passkey."""
        challenge = options["publicKey"]["challenge"]
        client_data = self.describe("webauthn.get", challenge)
        data = self.sign_in_data()
        signed = data + sha256(client_data).digest()
        parts = {
            "clientDataJSON": client_data,
            "authenticatorData": data,
            "signature": self.key.sign(signed, ec.ECDSA(SHA256())),
            "userHandle": websafe_decode(self.user_handle),
            **changes,
        }
        return self.answer(**parts)

    def describe(self, kind, challenge):
        return CollectedClientData.create(
            kind, challenge, self.origin, cross_origin=self.is_framed
        )

    def sign_in_data(self, flags=0, data=b""):
        if self.counts:
            self.counter += 1
        domain = self.domain or urlsplit(self.origin).hostname
        flags |= PRESENT
        if self.asks_for_pin:
            flags |= VERIFIED
        start = sha256(domain.encode()).digest() + struct.pack(
            ">BI", flags, self.counter
        )
        return AuthenticatorData(start + data)

    def answer(self, **parts):
        identifier = websafe_encode(self.credential_id)
        response = {
            name: websafe_encode(part)
            for name, part in parts.items()
            if part is not None
        }
        answer = {
            "id": identifier,
            "rawId": identifier,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        }
        return json.dumps(answer)
