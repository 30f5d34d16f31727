"""The Ed25519 keys of this installation. The first key of AUDIT_KEYS signs; every key verifies."""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

from audit.chain.hashing import encode_public_key


def signing_key() -> tuple[str, Ed25519PrivateKey]:
    """Return the key that signs, as (kid, private key)."""
    kid, seed = next(iter(settings.AUDIT_KEYS.items()))
    return kid, Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed))


def public_keys() -> dict[str, Ed25519PublicKey]:
    """Return every public key by its kid."""
    return {
        kid: Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)).public_key()
        for kid, seed in settings.AUDIT_KEYS.items()
    }


def encoded_public_keys() -> dict[str, str]:
    """Return every public key in base64, by key id (`kid`). Auditors need them."""
    return {kid: encode_public_key(key) for kid, key in public_keys().items()}
