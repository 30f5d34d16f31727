"""The parts of data exports: encrypted objects in the object store.

The parts of an export are numbered through all its steps. Objects are never overwritten, so the key of a part
names the attempt that stored it: `exports/<export>/<attempt>/<number>`. `DataExport.steps` lists the attempts
whose parts belong to the archive.
"""

import os
from collections.abc import Iterator
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from accounts.errors import ExportTooLarge
from accounts.models import DataExport
from core.storage.object_store import ObjectStoreUnavailable, object_store

PART_BYTES = 4 * 1024 * 1024
NONCE_BYTES = 12
KEY_PREFIX = "exports/"

log = structlog.get_logger(__name__)


class PartWriter:
    """A stream that stores what is written to it behind the parts of an export.

    It has the methods that `zipfile.ZipFile` needs. Without `seek`, `zipfile` writes checksum and sizes of a
    member behind its content. It holds at most PART_BYTES and one call of `write` in memory, and no file.
    """

    def __init__(self, export: DataExport) -> None:
        self.parts = export.parts
        self.size = export.size
        self._export = export
        self._buffer = bytearray()
        self._has_failed = False

    def write(self, data: bytes) -> int:
        """Append bytes. Raises ExportTooLarge beyond EXPORT_MAX_BYTES, and ObjectStoreUnavailable.

        After an error it discards what is written, because `zipfile` ends a member also after an error.
        """
        if not self._has_failed:
            self._has_failed = True
            if self.size + len(data) > settings.EXPORT_MAX_BYTES:
                raise ExportTooLarge
            self.size += len(data)
            self._buffer += data
            while len(self._buffer) >= PART_BYTES:
                self._store_part()
            self._has_failed = False
        return len(data)

    def tell(self) -> int:
        """Return the offset in the archive, which earlier steps have begun."""
        return self.size

    def flush(self) -> None:
        """Do nothing: `zipfile` calls it after each member, and parts have their own size."""

    def close(self) -> None:
        """Store the bytes that fill no part, as a smaller part. Raises ObjectStoreUnavailable.

        `zipfile` does not call it, because it does not close files that it has not opened.
        """
        if self._buffer:
            self._store_part()

    def _store_part(self) -> None:
        part = bytes(self._buffer[:PART_BYTES])
        key = _part_key(self._export.pk, self._export.attempts, self.parts)
        object_store().create(key, _encrypt_part(self._export, self.parts, part))
        self.parts += 1
        del self._buffer[:PART_BYTES]


def read_parts(export: DataExport) -> Iterator[bytes]:
    """Yield the decrypted parts of an archive. Raises ObjectStoreUnavailable, also when a part is missing."""
    # An archive from a version without steps was stored by one attempt.
    steps = export.steps or [{"attempt": export.attempts, "parts": export.parts}]
    number = 0
    for step in steps:
        for _ in range(step["parts"]):
            stored = object_store().read(_part_key(export.pk, step["attempt"], number))
            if stored is None:
                raise ObjectStoreUnavailable("part missing")
            yield _decrypt_part(export, number, stored)
            number += 1


def delete_parts_of_attempt(export: DataExport, attempt: int) -> None:
    """Delete the parts that one attempt stored. See `delete_stored_parts`."""
    _delete_parts(f"{KEY_PREFIX}{export.pk}/{attempt}/")


def delete_stored_parts(pk: UUID) -> None:
    """Delete all stored parts of an export.

    Parts that the store does not delete are logged and left: without the key in the row they are unreadable.
    When the row is deleted, `delete_orphaned_parts` tries again.
    """
    _delete_parts(f"{KEY_PREFIX}{pk}/")


def delete_orphaned_parts() -> None:
    """Delete the parts whose export has no row any more, for example because a worker was killed."""
    keys: dict[str, list[str]] = {}
    try:
        for key in object_store().keys(KEY_PREFIX):
            keys.setdefault(key.split("/")[1], []).append(key)
        # The rows are read after the keys, so that no part of a new export seems to be orphaned.
        existing = DataExport.objects.filter(pk__in=list(keys)).values_list("pk", flat=True)
        for pk in keys.keys() - {str(pk) for pk in existing}:
            for key in keys[pk]:
                object_store().delete(key)
    except ObjectStoreUnavailable as error:
        log.warning("orphaned_export_parts_left", reason=str(error))


def _delete_parts(prefix: str) -> None:
    try:
        for key in object_store().keys(prefix):
            object_store().delete(key)
    except ObjectStoreUnavailable as error:
        log.warning("export_parts_left", prefix=prefix, reason=str(error))


def _part_key(pk: UUID, attempt: int, number: int) -> str:
    return f"{KEY_PREFIX}{pk}/{attempt}/{number}"


def _encrypt_part(export: DataExport, number: int, part: bytes) -> bytes:
    """Return nonce and AES-256-GCM ciphertext. Export and part number are authenticated."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(bytes.fromhex(export.key)).encrypt(nonce, part, f"{export.pk}/{number}".encode())


def _decrypt_part(export: DataExport, number: int, stored: bytes) -> bytes:
    nonce = stored[:NONCE_BYTES]
    ciphertext = stored[NONCE_BYTES:]
    return AESGCM(bytes.fromhex(export.key)).decrypt(nonce, ciphertext, f"{export.pk}/{number}".encode())
