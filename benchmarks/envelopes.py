"""Envelopes of the vault, for benchmarks."""

import base64
import os
from typing import Any


def envelope(size: int, version: int = 1) -> dict[str, Any]:
    """The envelope of `size` bytes of ciphertext, as a client sends it. Random, because ciphertext is."""
    parts = {"ciphertext": size, "iv": 12, "salt": 16}
    return {
        **{name: base64.b64encode(os.urandom(count)).decode() for name, count in parts.items()},
        "version": version,
    }
