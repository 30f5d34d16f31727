"""The arithmetic of the chain, without Django: what is hashed, how it is signed. Used online and offline."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GENESIS = hashlib.sha256(b"getyousite audit chain, version 1").digest()
FIELDS = (
    "id",
    "event",
    "actor_kind",
    "actor_id",
    "subject_type",
    "subject_id",
    "site_id",
    "owner_id",
    "session_id",
    "request_id",
    "facts",
    "personal",
    "created_at",
)
DOMAIN = b"getyousite audit document, version 1\n"


def leaf(values: Iterable[bytes]) -> bytes:
    """SHA-256 over the fields of an entry in the order of `FIELDS`, each after its length (4 bytes,
    big-endian).

    Ids are text, nothing is the empty string, `created_at` is microseconds since 1970 as decimal text. The
    lengths stop a byte from moving from one field to its neighbour.
    """
    return hashlib.sha256(b"".join(len(value).to_bytes(4, "big") + value for value in values)).digest()


def link(previous: bytes, entry_leaf: bytes) -> bytes:
    """The digest of a seal."""
    return hashlib.sha256(previous + entry_leaf).digest()


def personal_hash(salt: bytes, value: str) -> str:
    return hashlib.sha256(salt + value.encode()).hexdigest()


def sign(document: dict[str, Any], kid: str, key: Ed25519PrivateKey) -> str:
    """`document` with `kid` and an Ed25519 signature (RFC 8032) over its canonical JSON, as JSON text."""
    signed = {**document, "kid": kid}
    signature = base64.b64encode(key.sign(DOMAIN + canonical(signed))).decode()
    return json.dumps({**signed, "signature": signature}, sort_keys=True)


def check(text: str, keys: dict[str, Ed25519PublicKey]) -> dict[str, Any] | None:
    """The document in `text` when one of our keys signed it, else None."""
    try:
        document: dict[str, Any] = json.loads(text)
        signature = base64.b64decode(document.pop("signature"))
        keys[document["kid"]].verify(signature, DOMAIN + canonical(document))
    except (InvalidSignature, KeyError, ValueError, TypeError, AttributeError):
        return None
    return document


def canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def public_text(key: Ed25519PublicKey) -> str:
    """The 32 bytes of a public key in base64, as printed for auditors."""
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """The key in `text`. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def as_ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as inclusive ranges: `[1, 2, 3, 7]` -> `[[1, 3], [7, 7]]`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
