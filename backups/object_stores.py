"""The store of backups: the object store of `core`, for objects of 64 MiB, at a bounded speed, locked where
the bucket does that.
"""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from backups.engine.errors import Damaged
from core.storage.object_store import (
    FolderStore,
    ObjectExists,
    ObjectStore,
    ObjectStoreUnavailable,
    S3Store,
    open_store,
)

TRIES = 3
PART = 16 << 20  # equal parts: some stores refuse others


class BackupStore(ObjectStore, Protocol):
    def keep_until(self, key: str, until: datetime) -> bool:
        """Lock an object until then, where the store can; False where it cannot. Raises ObjectStoreAway."""


class BackupFolder(FolderStore):
    def keep_until(self, key: str, until: datetime) -> bool:
        return False


@dataclass
class Throttle:
    """A token bucket of one second: `wait` until so many bytes may go."""

    bytes_per_second: int
    _free_at: float = field(default_factory=lambda: time.monotonic() - 1)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, size: int) -> None:
        if not self.bytes_per_second:
            return
        with self._lock:
            begin = max(self._free_at, time.monotonic() - 1)
            self._free_at = begin + size / self.bytes_per_second
        time.sleep(max(0.0, self._free_at - time.monotonic()))


class BackupBucket(S3Store):
    """Large objects go in parts, each with its SHA-256, and appear whole or not at all."""

    throttle: Throttle
    locks: bool | None = None

    def __del__(self) -> None:
        self.client.close()  # connections that are kept open

    def create(self, key: str, body: bytes | bytearray) -> None:
        if len(body) <= PART:
            self.throttle.wait(len(body))
            super().create(key, bytes(body))
            return
        with _refusals(key):
            place = {"Bucket": self.bucket, "Key": self.prefix + key}
            upload = {
                **place,
                "UploadId": self.client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")[
                    "UploadId"
                ],
            }
            try:
                parts = [self._part(upload, number, part) for number, part in enumerate(_parts(body), 1)]
                self.client.complete_multipart_upload(
                    **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
            except BaseException:
                self._abort(upload)
                raise

    def read(self, key: str) -> bytes | None:
        """As in `core`, again where an answer was cut off.

        Raises Damaged where it is not what its checksum says.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return super().read(key)
            except ObjectStoreUnavailable as fault:
                if tries == TRIES and "Checksum" in str(fault):
                    raise Damaged(f"{key} is not what was stored.") from None
                if tries == TRIES:
                    raise
                time.sleep(0.5)

    def _part(self, upload: dict[str, str], number: int, part: bytes) -> dict[str, object]:
        self.throttle.wait(len(part))
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        answer = self.client.upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=digest)
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}

    def _abort(self, upload: dict[str, str]) -> None:
        """Parts that nobody wants cost money; where this fails, a rule of the bucket takes them away."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.abort_multipart_upload(**upload)
        except (BotoCoreError, ClientError):
            return

    def keep_until(self, key: str, until: datetime) -> bool:
        if self.locks is None:
            self.locks = self._has_locks()
        if self.locks:
            with _refusals(key):
                self.client.put_object_retention(
                    Bucket=self.bucket,
                    Key=self.prefix + key,
                    Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
                )
        return self.locks

    def _has_locks(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client.get_object_lock_configuration(Bucket=self.bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise ObjectStoreUnavailable(error.response["Error"]["Code"]) from None
            return False
        except BotoCoreError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None
        return bool(found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _parts(body: bytes | bytearray) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), PART):
        yield bytes(view[start : start + PART])


@contextmanager
def _refusals(key: str) -> Iterator[None]:
    """What the library raises, as the ways in which a store says no."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in {409, 412}:
            raise ObjectExists(key) from None
        raise ObjectStoreUnavailable(error.response["Error"]["Code"]) from None
    except BotoCoreError as error:
        raise ObjectStoreUnavailable(type(error).__name__) from None


def open_backup_store(url: str, *, region: str = "", bytes_per_second: int = 0) -> BackupStore:
    """A store from its address, as `core.storage.object_store.open_store` reads it. Raises ValueError."""
    if region and url.startswith("s3:"):
        parts = urlsplit(url)
        url = parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), "region": region})).geturl()
    store = open_store(url, folder=BackupFolder, bucket=BackupBucket)
    if isinstance(store, BackupBucket):
        store.throttle = Throttle(bytes_per_second)
    return store  # type: ignore[return-value]  # one of the two


def same_place(one: str, other: str) -> bool:
    """Whether what happens to one store happens to the other: the same disk, or the same region of the same
    service.
    """
    first = urlsplit(one)
    second = urlsplit(other)
    if first.scheme != second.scheme:
        return False
    facts = [dict(parse_qsl(parts.query)) for parts in (first, second)]
    return first.scheme == "file" or all(
        facts[0].get(name) == facts[1].get(name) for name in ("endpoint", "region")
    )
