"""Cryptography of the vault's Python client: key derivation and envelopes, as docs/vault.md specifies them.

Needs Python and `cryptography` only. `vault/vectors.json` tests it and the JavaScript client with the same
examples.
"""

import base64
import hashlib
import json
import os
import struct
import unicodedata
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MIN_ITERATIONS = 600_000
MAX_ITERATIONS = 10_000_000
NIL_ITEM_ID = UUID(int=0)  # takes the place of the item id in the envelope of a vault's own record
ALGORITHM = "A256GCM"


class VaultError(Exception):
    """A request was refused, or data from the server cannot be trusted.

    The message is for people. `problem` is the server's problem document (RFC 9457), if there is one.
    """

    def __init__(self, message: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = problem or {}


def derive_key(key: bytes, *, salt: bytes, info: str) -> bytes:
    """Return 32 bytes of HKDF-SHA256 (RFC 5869). `info` is prefixed with `getyousite/v1/`."""
    return HKDF(hashes.SHA256(), 32, salt, f"getyousite/v1/{info}".encode()).derive(key)


def derive_master_key(password: str, *, salt: bytes, iterations: int) -> bytes:
    """Return PBKDF2-HMAC-SHA256 (RFC 8018) of the password in Unicode NFKC.

    Raises VaultError unless the number of iterations is from 600,000 to 10,000,000.
    """
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise VaultError("This server requests a key that is too weak. Do not sign in.")
    normalized = unicodedata.normalize("NFKC", password)
    return hashlib.pbkdf2_hmac("sha256", normalized.encode(), salt, iterations)


def derive_auth_hash(master_key: bytes) -> bytes:
    """Return the value that is sent to the server instead of the password."""
    return derive_key(master_key, salt=b"", info="auth")


def derive_account_key(master_key: bytes) -> bytes:
    """Return the key that encrypts the record of each vault. It never leaves the client."""
    return derive_key(master_key, salt=b"", info="enc")


def associated_data(vault_id: UUID, item_id: UUID, version: int) -> bytes:
    """Return the label, a NUL, both ids (16 bytes each) and the version (4 bytes, big-endian)."""
    return b"getyousite/v1\0" + vault_id.bytes + item_id.bytes + struct.pack(">I", version)


def encrypt_envelope(
    key: bytes,
    plaintext: bytes,
    *,
    vault_id: UUID,
    item_id: UUID,
    version: int,
    iv: bytes | None = None,
    salt: bytes | None = None,
) -> dict[str, Any]:
    """Encrypt with AES-256-GCM under a key that is derived for this envelope alone.

    Only tests pass `iv` and `salt`; otherwise they are random.
    """
    iv = iv or os.urandom(12)
    salt = salt or os.urandom(16)
    ciphertext = AESGCM(derive_key(key, salt=salt, info="envelope")).encrypt(
        iv, plaintext, associated_data(vault_id, item_id, version)
    )
    return {
        "ciphertext": encode_base64(ciphertext),
        "iv": encode_base64(iv),
        "salt": encode_base64(salt),
        "version": version,
        "alg": ALGORITHM,
    }


def decrypt_envelope(key: bytes, envelope: dict[str, Any], *, vault_id: UUID, item_id: UUID) -> bytes:
    """Return the plaintext. Raises VaultError for an envelope that was changed or moved."""
    if envelope["alg"] != ALGORITHM:
        raise VaultError("An envelope names an unknown algorithm.")
    cipher = AESGCM(derive_key(key, salt=decode_base64(envelope["salt"]), info="envelope"))
    try:
        return cipher.decrypt(
            decode_base64(envelope["iv"]),
            decode_base64(envelope["ciphertext"]),
            associated_data(vault_id, item_id, envelope["version"]),
        )
    except InvalidTag:
        raise VaultError(
            "An envelope cannot be decrypted: it was changed, or belongs to another item."
        ) from None


def compact_json(value: Any) -> bytes:
    """Return JSON without white space, as the JavaScript client writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Decode base64 strictly. Raises ValueError."""
    return base64.b64decode(text, validate=True)
