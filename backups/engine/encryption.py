"""Encryption of packs and manifests, and wrapping of their data keys.

A blob is cut into segments of 1 MiB. Each is encrypted with AES-256-GCM (NIST SP 800-38D). The nonce is a
random prefix, the segment number and a flag for the last segment; the additional data is the blob's name in
the store. A segment that is changed, moved, repeated, truncated or taken from another blob does not decrypt.

Each run has its own data key. It is wrapped by a master key, or for X25519 recipients (RFC 7748;
HKDF-SHA-256, RFC 5869), or both. With recipients only, a server cannot read the backups that it wrote.
"""

import base64
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backups.engine.errors import Damaged, KeyMissing

MAGIC = b"GYSB1"
SEGMENT_BYTES = 1 << 20
TAG_BYTES = 16
NONCE_PREFIX_BYTES = 7
HEADER_BYTES = len(MAGIC) + NONCE_PREFIX_BYTES
KEY_BYTES = 32


class Blob(Protocol):
    """An encrypted blob that can be sliced: bytes, or a file with the same interface."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: slice, /) -> bytes: ...


# --- blobs ---


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + struct.pack(">IB", number, last)


@dataclass(slots=True)
class BlobEncryptor:
    """Encrypts one blob piece by piece. `name` is the blob's key in the store."""

    key: bytes
    name: str
    nonce_prefix: bytes = field(default_factory=lambda: os.urandom(NONCE_PREFIX_BYTES))
    _pending: bytearray = field(default_factory=bytearray)
    _segment_number: int = 0

    def header(self) -> bytes:
        """Return the unencrypted start of the blob."""
        return MAGIC + self.nonce_prefix

    def update(self, plaintext: bytes) -> bytes:
        """Return the segments that are complete now.

        A full segment is held back until more data follows, because it may be the last one.
        """
        self._pending += plaintext
        encrypted = bytearray()
        while len(self._pending) > SEGMENT_BYTES:
            encrypted += self._encrypt_segment(bytes(self._pending[:SEGMENT_BYTES]), last=False)
            del self._pending[:SEGMENT_BYTES]
        return bytes(encrypted)

    def finalize(self) -> bytes:
        """Return the last segment."""
        return self._encrypt_segment(bytes(self._pending), last=True)

    def _encrypt_segment(self, plaintext: bytes, *, last: bool) -> bytes:
        nonce = _nonce(self.nonce_prefix, self._segment_number, last)
        self._segment_number += 1
        return AESGCM(self.key).encrypt(nonce, plaintext, self.name.encode())


def encrypt_blob(key: bytes, name: str, plaintext: bytes) -> bytes:
    """Return a complete encrypted blob. `name` is its key in the store."""
    encryptor = BlobEncryptor(key, name)
    return encryptor.header() + encryptor.update(plaintext) + encryptor.finalize()


def decrypt_slice(key: bytes, name: str, blob: Blob, offset: int, length: int) -> bytes:
    """Return `length` bytes of plaintext from `offset`. Decrypts only the segments needed. Raises Damaged."""
    _ensure_magic(name, blob)
    nonce_prefix = blob[len(MAGIC) : HEADER_BYTES]
    blob_last = (len(blob) - HEADER_BYTES - 1) // (SEGMENT_BYTES + TAG_BYTES)
    first = offset // SEGMENT_BYTES
    last = max(offset, offset + length - 1) // SEGMENT_BYTES
    plaintext = bytearray()
    for number in range(first, last + 1):
        start = HEADER_BYTES + number * (SEGMENT_BYTES + TAG_BYTES)
        segment = blob[start : start + SEGMENT_BYTES + TAG_BYTES]
        nonce = _nonce(nonce_prefix, number, number == blob_last)
        try:
            plaintext += AESGCM(key).decrypt(nonce, segment, name.encode())
        except (InvalidTag, ValueError):
            raise Damaged(f"{name} was changed or truncated, in segment {number}.") from None
    result = bytes(plaintext[offset - first * SEGMENT_BYTES :][:length])
    if len(result) != length:
        raise Damaged(f"{name} ends too early.")
    return result


def decrypt_blob(key: bytes, name: str, blob: Blob) -> bytes:
    """Return the whole plaintext. Raises Damaged."""
    _ensure_magic(name, blob)
    segments = -(-(len(blob) - HEADER_BYTES) // (SEGMENT_BYTES + TAG_BYTES))
    size = len(blob) - HEADER_BYTES - segments * TAG_BYTES
    if segments < 1 or size < 0:
        raise Damaged(f"{name} ends too early.")
    return decrypt_slice(key, name, blob, 0, size) if size else _decrypt_empty_blob(key, name, blob)


def _ensure_magic(name: str, blob: Blob) -> None:
    if blob[: len(MAGIC)] != MAGIC:
        raise Damaged(f"{name} is not a backup of Getyousite, or its beginning is missing.")


def _decrypt_empty_blob(key: bytes, name: str, blob: Blob) -> bytes:
    nonce = _nonce(blob[len(MAGIC) : HEADER_BYTES], 0, True)
    try:
        return AESGCM(key).decrypt(nonce, blob[HEADER_BYTES:], name.encode())
    except (InvalidTag, ValueError):
        raise Damaged(f"{name} was changed or truncated.") from None


# --- keys ---


def key_id(key: bytes) -> str:
    """Return a short public id of a master key or of a recipient's public key."""
    return hashlib.sha256(b"getyousite backup key" + key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that wrap and unwrap the data keys of runs.

    The first master key and all recipients wrap. All master keys and identities (the private keys of
    recipients) unwrap.
    """

    masters: tuple[bytes, ...] = ()
    recipients: tuple[bytes, ...] = ()
    identities: tuple[bytes, ...] = ()

    def wrap(self, run_id: str, data_key: bytes) -> bytes:
        """Return the content of a run's key file. Any of the wrapping keys opens it. Raises KeyMissing."""
        wraps = [_wrap_with_secret(master, "master", run_id, data_key) for master in self.masters[:1]]
        wraps += [_wrap_for_recipient(recipient, run_id, data_key) for recipient in self.recipients]
        if not wraps:
            raise KeyMissing("There is neither a master key nor a recipient to encrypt to.")
        return json.dumps({"format": 1, "run": run_id, "wraps": wraps}, indent=1).encode()

    def wrapping_id(self) -> str:
        """Return a short id of the first master key and the recipients together."""
        return hashlib.sha256(" ".join(self._wrapping_key_ids()).encode()).hexdigest()[:16]

    def _wrapping_key_ids(self) -> list[str]:
        return [*(key_id(key) for key in self.masters[:1]), *(key_id(key) for key in self.recipients)]

    def match_key_file(self, stored: bytes) -> bool:
        """Whether a key file is wrapped by exactly these keys."""
        try:
            return [str(wrap["key"]) for wrap in json.loads(stored)["wraps"]] == self._wrapping_key_ids()
        except (ValueError, KeyError, TypeError):
            return False

    def unwrap(self, run_id: str, stored: bytes) -> bytes:
        """Return the data key from the content of a key file. Raises KeyMissing, Damaged."""
        try:
            wraps = json.loads(stored)["wraps"]
            data_keys = [data_key for wrap in wraps for data_key in self._unwrap_candidates(run_id, wrap)]
        except (ValueError, KeyError, TypeError):
            raise Damaged(f"The key file of run {run_id} differs from what was stored.") from None
        if not data_keys:
            key_ids = ", ".join(sorted({str(wrap["key"]) for wrap in wraps}))
            raise KeyMissing(f"No key that was given opens run {run_id}. It needs one of: {key_ids}.")
        return data_keys[0]

    def _unwrap_candidates(self, run_id: str, wrap: dict[str, Any]) -> Iterator[bytes]:
        nonce = base64.b64decode(wrap["nonce"])
        ciphertext = base64.b64decode(wrap["sealed"])
        for secret in self._wrapping_secrets(wrap):
            try:
                yield AESGCM(secret).decrypt(nonce, ciphertext, f"{wrap['kind']} {run_id}".encode())
            except InvalidTag:
                continue

    def _wrapping_secrets(self, wrap: dict[str, Any]) -> Iterator[bytes]:
        if wrap["kind"] == "master":
            yield from self.masters
            return
        ephemeral_public = base64.b64decode(wrap["sender"])
        for identity in self.identities:
            private = X25519PrivateKey.from_private_bytes(identity)
            public = private.public_key().public_bytes_raw()
            exchanged = private.exchange(X25519PublicKey.from_public_bytes(ephemeral_public))
            yield _derive_wrapping_secret(exchanged, ephemeral_public, public)


def _wrap_with_secret(
    secret: bytes, kind: str, run_id: str, data_key: bytes, **extra_fields: str
) -> dict[str, str]:
    nonce = os.urandom(12)
    ciphertext = AESGCM(secret).encrypt(nonce, data_key, f"{kind} {run_id}".encode())
    fields = {"kind": kind, "key": key_id(secret)} if kind == "master" else {"kind": kind}
    return {
        **fields,
        **extra_fields,
        "nonce": base64.b64encode(nonce).decode(),
        "sealed": base64.b64encode(ciphertext).decode(),
    }


def _wrap_for_recipient(recipient: bytes, run_id: str, data_key: bytes) -> dict[str, str]:
    ephemeral = X25519PrivateKey.generate()
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    exchanged = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    secret = _derive_wrapping_secret(exchanged, ephemeral_public, recipient)
    sender = base64.b64encode(ephemeral_public).decode()
    return _wrap_with_secret(secret, "x25519", run_id, data_key, key=key_id(recipient), sender=sender)


def _derive_wrapping_secret(exchanged: bytes, ephemeral_public: bytes, recipient: bytes) -> bytes:
    salt = ephemeral_public + recipient
    return HKDF(hashes.SHA256(), 32, salt, b"getyousite backup x25519").derive(exchanged)


def generate_identity() -> tuple[bytes, bytes]:
    """Return a new X25519 private key, to be kept off the server, and its public key (the recipient)."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def parse_keys(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Decode keys of 32 bytes in base64. Raises ValueError."""
    keys = tuple(base64.b64decode(text, validate=True) for text in texts)
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError("A backup key is 32 bytes in base64.")
    return keys
