"""Hashes and signatures of the chain, without Django.

Used by the server and by `audit.offline_verify`.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GENESIS_DIGEST = hashlib.sha256(b"getyousite audit chain, version 1").digest()
HASHED_FIELDS = (
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
SIGNATURE_PREFIX = b"getyousite audit document, version 1\n"


def hash_entry(values: Iterable[bytes]) -> bytes:
    """Return the leaf hash of an entry: SHA-256 over its fields in the order of `HASHED_FIELDS`.

    Each field follows its length (4 bytes, big-endian), so that a byte cannot move from one field to the
    next without changing the hash. Ids are text, a missing value is the empty string, and `created_at` is
    microseconds since 1970 as decimal text.
    """
    return hashlib.sha256(b"".join(len(value).to_bytes(4, "big") + value for value in values)).digest()


def chain_digest(previous_digest: bytes, leaf: bytes) -> bytes:
    """Return the digest of a seal: SHA-256(digest of the seal before it || leaf hash of its entry)."""
    return hashlib.sha256(previous_digest + leaf).digest()


def hash_personal_value(salt: bytes, value: str) -> str:
    """Return SHA-256(salt || value) in hexadecimal."""
    return hashlib.sha256(salt + value.encode()).hexdigest()


def sign_document(document: dict[str, Any], kid: str, key: Ed25519PrivateKey) -> str:
    """Return `document` as JSON text with `kid` and a signature over its canonical JSON.

    The signature is Ed25519 (RFC 8032) in base64.
    """
    unsigned = {**document, "kid": kid}
    signature = base64.b64encode(key.sign(SIGNATURE_PREFIX + canonical_json(unsigned))).decode()
    return json.dumps({**unsigned, "signature": signature}, sort_keys=True)


def parse_signed_document(text: str, keys: dict[str, Ed25519PublicKey]) -> dict[str, Any] | None:
    """Return the document in `text`, or None unless one of `keys` (by kid) signed it."""
    try:
        document: dict[str, Any] = json.loads(text)
        signature = base64.b64decode(document.pop("signature"))
        keys[document["kid"]].verify(signature, SIGNATURE_PREFIX + canonical_json(document))
    except (InvalidSignature, KeyError, ValueError, TypeError, AttributeError):
        return None
    return document


def canonical_json(document: Any) -> bytes:
    """Return the bytes that are signed: sorted keys, no white space."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def encode_public_key(key: Ed25519PublicKey) -> str:
    """Return the 32 bytes of a public key in base64, as `audit_keys show` prints them."""
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def decode_public_key(text: str) -> Ed25519PublicKey:
    """Parse the result of `encode_public_key`. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def to_inclusive_ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Return ascending numbers as inclusive ranges: `[1, 2, 3, 7]` becomes `[[1, 3], [7, 7]]`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
