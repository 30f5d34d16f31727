"""The store of backups: the object store of `core` with multipart uploads, a rate limit and object lock."""

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

READ_ATTEMPTS = 3
READ_RETRY_SECONDS = 0.5
PART_BYTES = 16 << 20  # all parts but the last have this size, because some stores require equal parts


class BackupStore(ObjectStore, Protocol):
    def lock_until(self, key: str, until: datetime) -> bool:
        """Protect an object from deletion until then. Returns False when the store has no object lock.

        Raises ObjectStoreUnavailable.
        """


class BackupFolderStore(FolderStore):
    """A folder. It has no object lock."""

    def lock_until(self, key: str, until: datetime) -> bool:
        return False


@dataclass
class Throttle:
    """A token bucket that holds the tokens of one second. 0 bytes per second is no limit."""

    bytes_per_second: int
    _free_at: float = field(default_factory=lambda: time.monotonic() - 1)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, size: int) -> None:
        """Sleep until `size` bytes may be sent."""
        if not self.bytes_per_second:
            return
        with self._lock:
            begin = max(self._free_at, time.monotonic() - 1)
            self._free_at = begin + size / self.bytes_per_second
        time.sleep(max(0.0, self._free_at - time.monotonic()))


class BackupS3Store(S3Store):
    """A bucket. Large objects are uploaded in parts, each with its SHA-256, and appear only when complete."""

    throttle: Throttle
    has_object_lock: bool | None = None  # None until the bucket was asked

    def __del__(self) -> None:
        self.client.close()  # the client keeps connections open

    def create(self, key: str, body: bytes | bytearray) -> None:
        """Store `body` under a new key. Raises ObjectExists, ObjectStoreUnavailable."""
        if len(body) <= PART_BYTES:
            self.throttle.wait(len(body))
            super().create(key, bytes(body))
            return
        with _translate_s3_errors(key):
            target = {"Bucket": self.bucket, "Key": self.prefix + key}
            response = self.client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")
            upload = {**target, "UploadId": response["UploadId"]}
            try:
                parts = [
                    self._upload_part(upload, number, part) for number, part in enumerate(_split(body), 1)
                ]
                self.client.complete_multipart_upload(
                    **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
            except BaseException:
                self._abort_upload(upload)
                raise

    def read(self, key: str) -> bytes | None:
        """Return the object, or None when it does not exist. A truncated response is requested again.

        Raises Damaged when the content does not match its checksum, and ObjectStoreUnavailable.
        """
        attempts = 0
        while True:
            attempts += 1
            try:
                return super().read(key)
            except ObjectStoreUnavailable as error:
                if attempts == READ_ATTEMPTS and "Checksum" in str(error):
                    raise Damaged(f"{key} differs from what was stored.") from None
                if attempts == READ_ATTEMPTS:
                    raise
                time.sleep(READ_RETRY_SECONDS)

    def _upload_part(self, upload: dict[str, str], number: int, part: bytes) -> dict[str, object]:
        self.throttle.wait(len(part))
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        response = self.client.upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=digest)
        return {"PartNumber": number, "ETag": response["ETag"], "ChecksumSHA256": digest}

    def _abort_upload(self, upload: dict[str, str]) -> None:
        """Delete the parts, which cost money. If this fails, a lifecycle rule of the bucket deletes them."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.abort_multipart_upload(**upload)
        except (BotoCoreError, ClientError):
            return

    def lock_until(self, key: str, until: datetime) -> bool:
        if self.has_object_lock is None:
            self.has_object_lock = self._detect_object_lock()
        if self.has_object_lock:
            with _translate_s3_errors(key):
                self.client.put_object_retention(
                    Bucket=self.bucket,
                    Key=self.prefix + key,
                    Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
                )
        return self.has_object_lock

    def _detect_object_lock(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = self.client.get_object_lock_configuration(Bucket=self.bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise ObjectStoreUnavailable(error.response["Error"]["Code"]) from None
            return False
        except BotoCoreError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None
        return bool(response.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _split(body: bytes | bytearray) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), PART_BYTES):
        yield bytes(view[start : start + PART_BYTES])


@contextmanager
def _translate_s3_errors(key: str) -> Iterator[None]:
    """Turn errors of botocore into ObjectExists (409 and 412) and ObjectStoreUnavailable."""
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
    """Return the store at an address that `core.storage.object_store.open_store` accepts.

    `region` replaces the one in the address. Raises ValueError.
    """
    if region and url.startswith("s3:"):
        parts = urlsplit(url)
        url = parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), "region": region})).geturl()
    store = open_store(url, folder=BackupFolderStore, bucket=BackupS3Store)
    if isinstance(store, BackupS3Store):
        store.throttle = Throttle(bytes_per_second)
    return store  # type: ignore[return-value]  # one of the two classes above


def share_failure_domain(first_url: str, second_url: str) -> bool:
    """Whether one disaster could destroy both stores: two folders, or the same region of the same service."""
    first = urlsplit(first_url)
    second = urlsplit(second_url)
    if first.scheme != second.scheme:
        return False
    if first.scheme == "file":
        return True
    first_query = dict(parse_qsl(first.query))
    second_query = dict(parse_qsl(second.query))
    return all(first_query.get(name) == second_query.get(name) for name in ("endpoint", "region"))
