"""Encryption of packs and manifests, and the keys to it.

A blob is cut into segments of 1 MiB, each AES-256-GCM (NIST SP 800-38D). Its nonce is a random prefix, the
segment's number and whether it is the last; the additional data names format, run and blob. So a segment that
is changed, swapped, repeated, cut off or taken from elsewhere does not open. Each run has a data key of its
own, wrapped by a master key, or to X25519 recipients (RFC 7748; HKDF-SHA-256, RFC 5869), or both: with
recipients only, whoever has the server cannot read what it wrote.
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
SEGMENT = 1 << 20
TAG = 16
PREFIX = 7
HEADER = len(MAGIC) + PREFIX
KEY_BYTES = 32


class Blob(Protocol):
    """Something sealed, of which pieces can be taken: bytes, or a file that reads like them."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: slice, /) -> bytes: ...


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + struct.pack(">IB", number, last)


@dataclass(slots=True)
class Sealer:
    """Seals one blob while it grows. `name` is its place in the store."""

    key: bytes
    name: str
    prefix: bytes = field(default_factory=lambda: os.urandom(PREFIX))
    _pending: bytearray = field(default_factory=bytearray)
    _number: int = 0

    def header(self) -> bytes:
        return MAGIC + self.prefix

    def add(self, plain: bytes) -> bytes:
        """The segments that are full with this; the last one waits, since it may be the last."""
        self._pending += plain
        sealed = bytearray()
        while len(self._pending) > SEGMENT:
            sealed += self._seal(bytes(self._pending[:SEGMENT]), last=False)
            del self._pending[:SEGMENT]
        return bytes(sealed)

    def finish(self) -> bytes:
        return self._seal(bytes(self._pending), last=True)

    def _seal(self, plain: bytes, *, last: bool) -> bytes:
        sealed = AESGCM(self.key).encrypt(_nonce(self.prefix, self._number, last), plain, self.name.encode())
        self._number += 1
        return sealed


def seal(key: bytes, name: str, plain: bytes) -> bytes:
    """A whole blob."""
    sealer = Sealer(key, name)
    return sealer.header() + sealer.add(plain) + sealer.finish()


def open_part(key: bytes, name: str, blob: Blob, offset: int, length: int) -> bytes:
    """`length` bytes of what was sealed, from `offset`.

    Only the segments that have them are opened. Raises Damaged.
    """
    _check_magic(name, blob)
    prefix = blob[len(MAGIC) : HEADER]
    last = (len(blob) - HEADER - 1) // (SEGMENT + TAG)
    first = offset // SEGMENT
    final = max(offset, offset + length - 1) // SEGMENT
    plain = bytearray()
    for number in range(first, final + 1):
        start = HEADER + number * (SEGMENT + TAG)
        sealed = blob[start : start + SEGMENT + TAG]
        try:
            plain += AESGCM(key).decrypt(_nonce(prefix, number, number == last), sealed, name.encode())
        except (InvalidTag, ValueError):
            raise Damaged(f"{name} was changed or cut, in segment {number}.") from None
    found = bytes(plain[offset - first * SEGMENT :][:length])
    if len(found) != length:
        raise Damaged(f"{name} ends too early.")
    return found


def unseal(key: bytes, name: str, blob: Blob) -> bytes:
    """All of what was sealed. Raises Damaged."""
    _check_magic(name, blob)
    segments = -(-(len(blob) - HEADER) // (SEGMENT + TAG))
    size = len(blob) - HEADER - segments * TAG
    if segments < 1 or size < 0:
        raise Damaged(f"{name} ends too early.")
    return open_part(key, name, blob, 0, size) if size else _empty(key, name, blob)


def _check_magic(name: str, blob: Blob) -> None:
    if blob[: len(MAGIC)] != MAGIC:
        raise Damaged(f"{name} is not a backup of ours, or its beginning is gone.")


def _empty(key: bytes, name: str, blob: Blob) -> bytes:
    try:
        return AESGCM(key).decrypt(_nonce(blob[len(MAGIC) : HEADER], 0, True), blob[HEADER:], name.encode())
    except (InvalidTag, ValueError):
        raise Damaged(f"{name} was changed or cut.") from None


# --- keys ---


def key_id(public: bytes) -> str:
    """A short name of a key: of a master key by its hash under a name of its own, of a recipient by its
    public half.
    """
    return hashlib.sha256(b"getyousite backup key" + public).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Keys:
    """What wraps and opens the data keys of runs.

    The first master key wraps, all open; recipients wrap, identities (their private halves) open.
    """

    masters: tuple[bytes, ...] = ()
    recipients: tuple[bytes, ...] = ()
    identities: tuple[bytes, ...] = ()

    def wrap(self, run: str, data_key: bytes) -> bytes:
        """What is stored beside a run, so that any of these keys opens it."""
        wraps = [_wrap(master, "master", run, data_key) for master in self.masters[:1]]
        wraps += [_wrap_to(recipient, run, data_key) for recipient in self.recipients]
        if not wraps:
            raise KeyMissing("There is neither a master key nor a recipient to encrypt to.")
        return json.dumps({"format": 1, "run": run, "wraps": wraps}, indent=1).encode()

    def ids(self) -> str:
        """A short name of what wraps: of the first master key and the recipients together."""
        return hashlib.sha256(" ".join(self._wrapping()).encode()).hexdigest()[:16]

    def _wrapping(self) -> list[str]:
        return [*(key_id(key) for key in self.masters[:1]), *(key_id(key) for key in self.recipients)]

    def wraps(self, stored: bytes) -> bool:
        """Whether a key file names just these."""
        try:
            return [str(wrap["key"]) for wrap in json.loads(stored)["wraps"]] == self._wrapping()
        except (ValueError, KeyError, TypeError):
            return False

    def open(self, run: str, stored: bytes) -> bytes:
        """The data key of a run. Raises KeyMissing, Damaged."""
        try:
            wraps = json.loads(stored)["wraps"]
            found = [key for wrap in wraps for key in self._tries(run, wrap)]
        except (ValueError, KeyError, TypeError):
            raise Damaged(f"The key file of run {run} is not what was stored.") from None
        if not found:
            wanted = ", ".join(sorted({str(wrap["key"]) for wrap in wraps}))
            raise KeyMissing(f"No key that was given opens run {run}. It needs one of: {wanted}.")
        return found[0]

    def _tries(self, run: str, wrap: dict[str, Any]) -> Iterator[bytes]:
        nonce = base64.b64decode(wrap["nonce"])
        sealed = base64.b64decode(wrap["sealed"])
        for secret in self._secrets(wrap):
            try:
                yield AESGCM(secret).decrypt(nonce, sealed, f"{wrap['kind']} {run}".encode())
            except InvalidTag:
                continue

    def _secrets(self, wrap: dict[str, Any]) -> Iterator[bytes]:
        if wrap["kind"] == "master":
            yield from self.masters
            return
        sender = base64.b64decode(wrap["sender"])
        for identity in self.identities:
            private = X25519PrivateKey.from_private_bytes(identity)
            public = private.public_key().public_bytes_raw()
            yield _shared(private.exchange(X25519PublicKey.from_public_bytes(sender)), sender, public)


def _wrap(secret: bytes, kind: str, run: str, data_key: bytes, **more: str) -> dict[str, str]:
    nonce = os.urandom(12)
    sealed = AESGCM(secret).encrypt(nonce, data_key, f"{kind} {run}".encode())
    named = {"kind": kind, "key": key_id(secret)} if kind == "master" else {"kind": kind}
    return {
        **named,
        **more,
        "nonce": base64.b64encode(nonce).decode(),
        "sealed": base64.b64encode(sealed).decode(),
    }


def _wrap_to(recipient: bytes, run: str, data_key: bytes) -> dict[str, str]:
    sender = X25519PrivateKey.generate()
    public = sender.public_key().public_bytes_raw()
    secret = _shared(sender.exchange(X25519PublicKey.from_public_bytes(recipient)), public, recipient)
    return _wrap(
        secret, "x25519", run, data_key, key=key_id(recipient), sender=base64.b64encode(public).decode()
    )


def _shared(exchanged: bytes, sender: bytes, recipient: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, sender + recipient, b"getyousite backup x25519").derive(exchanged)


def new_identity() -> tuple[bytes, bytes]:
    """A private key to keep away from the server, and the public half that runs are encrypted to."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def read_keys(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Keys of 32 bytes in base64. Raises ValueError."""
    found = tuple(base64.b64decode(text, validate=True) for text in texts)
    if any(len(key) != KEY_BYTES for key in found):
        raise ValueError("A backup key is 32 bytes in base64.")
    return found
