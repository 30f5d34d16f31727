"""The Ed25519 keys of this installation: the first of AUDIT_KEYS signs, all verify."""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

from audit.chain.hashing import public_text


def signing_key() -> tuple[str, Ed25519PrivateKey]:
    kid, seed = next(iter(settings.AUDIT_KEYS.items()))
    return kid, Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed))


def public_keys() -> dict[str, Ed25519PublicKey]:
    return {
        kid: Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)).public_key()
        for kid, seed in settings.AUDIT_KEYS.items()
    }


def public_texts() -> dict[str, str]:
    """What an auditor is given: kid to public key in base64."""
    return {kid: public_text(key) for kid, key in public_keys().items()}
