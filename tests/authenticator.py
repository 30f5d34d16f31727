"""A WebAuthn authenticator in software (ES256). It produces the JSON that a browser sends to the server."""

import base64
import hashlib
import json
import os
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

# Flags of the authenticator data (WebAuthn section 6.1).
USER_PRESENT = 0x01
USER_VERIFIED = 0x04
ATTESTED_CREDENTIAL_DATA = 0x40


def encode_base64url(content: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decode_base64url(encoded: str) -> bytes:
    """The bytes of base64url with or without padding."""
    return base64.urlsafe_b64decode(encoded + "==")


class Authenticator:
    """One credential. `counter` rises with each use; `verifies` is true when it verifies its user."""

    def __init__(
        self, *, origin: str = "http://localhost:8000", domain: str = "localhost", verifies: bool = True
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = os.urandom(32)
        self.origin = origin
        self.domain = domain
        self.verifies = verifies
        self.counter = 0

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """The result of `navigator.credentials.create(options)`, as JSON."""
        numbers = self.key.public_key().public_numbers()
        public_key = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        attested_credential = bytes(16) + len(self.id).to_bytes(2) + self.id + public_key
        authenticator_data = self._authenticator_data(ATTESTED_CREDENTIAL_DATA) + attested_credential
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": authenticator_data})
        client_data = self._client_data("webauthn.create", options["challenge"])
        return self._credential(
            {
                "clientDataJSON": encode_base64url(client_data),
                "attestationObject": encode_base64url(attestation),
                "transports": ["internal"],
            }
        )

    def get(self, options: dict[str, Any], *, handle: bytes | None = None) -> dict[str, Any]:
        """The result of `navigator.credentials.get(options)`, as JSON. `handle` is the user handle."""
        self.counter += 1
        authenticator_data = self._authenticator_data(0)
        client_data = self._client_data("webauthn.get", options["challenge"])
        signed = authenticator_data + hashlib.sha256(client_data).digest()
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": encode_base64url(client_data),
            "authenticatorData": encode_base64url(authenticator_data),
            "signature": encode_base64url(signature),
        }
        if handle:
            response["userHandle"] = encode_base64url(handle)
        return self._credential(response)

    def _authenticator_data(self, flags: int) -> bytes:
        flags |= USER_PRESENT | (USER_VERIFIED if self.verifies else 0)
        return hashlib.sha256(self.domain.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4)

    def _client_data(self, kind: str, challenge: str) -> bytes:
        client_data = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(client_data).encode()

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": encode_base64url(self.id),
            "rawId": encode_base64url(self.id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": response,
        }
