"""The envelope as it travels between API and database. The server never decrypts it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vault.models import Item, Vault

MAX_REQUEST_BYTES = 10 * 1024 * 1024  # of a request that carries every envelope of a vault
JSON_OVERHEAD_BYTES = 320  # upper bound of the JSON around one ciphertext
ENVELOPE_FIELDS = ("ciphertext", "iv", "salt", "alg", "version")


@dataclass(frozen=True, slots=True)
class EnvelopeData:
    """An envelope that a client sent. `version` is authenticated by the ciphertext."""

    ciphertext: bytes
    iv: bytes
    salt: bytes
    version: int
    alg: str

    @property
    def json_bytes(self) -> int:
        return json_bytes_of(len(self.ciphertext))

    def to_fields(self) -> dict[str, Any]:
        """Return the model fields of an `Envelope` row."""
        return {name: getattr(self, name) for name in ENVELOPE_FIELDS}

    def equals(self, row: Vault | Item) -> bool:
        """Return whether the row stores exactly this envelope."""
        return all(_as_bytes(getattr(row, name)) == getattr(self, name) for name in ENVELOPE_FIELDS)

    def apply_to(self, row: Vault | Item, *, sequence: int) -> None:
        """Set the envelope and the change number of a row, without saving it."""
        for name, value in self.to_fields().items():
            setattr(row, name, value)
        row.sequence = sequence


def json_bytes_of(ciphertext_bytes: int) -> int:
    """Return an upper bound of the JSON bytes of an envelope with a ciphertext of this length."""
    return ciphertext_bytes * 4 // 3 + JSON_OVERHEAD_BYTES


def ciphertext_bytes_of(rows: Iterable[Vault | Item | EnvelopeData]) -> int:
    """Return the sum of the ciphertext lengths."""
    return sum(len(row.ciphertext) for row in rows)


def _as_bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
