"""The object store: a folder or an S3 bucket. Objects are created once and never overwritten."""

import contextlib
import os
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings


class ObjectExists(Exception):
    """An object with this key exists already. It was not changed."""


class ObjectStoreUnavailable(Exception):
    """The store does not answer, or refuses the operation. The caller may try again later."""


class ObjectStore(Protocol):
    """The operations of a store. A key is a relative path such as `audit/checkpoints/1.json`."""

    def create(self, key: str, body: bytes | bytearray) -> None:
        """Store a new object. Raises ObjectExists, ObjectStoreUnavailable."""

    def read(self, key: str) -> bytes | None:
        """Return the object, or None when it does not exist. Raises ObjectStoreUnavailable."""

    def delete(self, key: str) -> None:
        """Delete an object, if it exists.

        Raises ObjectStoreUnavailable, also when the store does not allow deletion (object lock).
        """

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that start with `prefix`, sorted. Raises ObjectStoreUnavailable."""


class FolderStore:
    """Objects as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, key: str, body: bytes | bytearray) -> None:
        path = self.folder / key
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            # A link appears in one step with the complete content, and fails when the key exists.
            os.link(temporary, path)
        except FileExistsError:
            raise ObjectExists(key) from None
        except OSError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def read(self, key: str) -> bytes | None:
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None

    def delete(self, key: str) -> None:
        try:
            (self.folder / key).unlink(missing_ok=True)
        except OSError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None

    def keys(self, prefix: str) -> list[str]:
        parent = self.folder / prefix.rpartition("/")[0]
        keys = (path.relative_to(self.folder).as_posix() for path in parent.rglob("*") if path.is_file())
        # Names with a dot at the start are temporary files of `create`.
        return sorted(key for key in keys if key.startswith(prefix) and "/." not in f"/{key}")


READ_TIMEOUT_SECONDS = 10  # for one attempt; botocore makes three


class S3Store:
    """Objects in an S3 bucket, created with `If-None-Match: *`.

    With object lock enabled on the bucket, the objects cannot be deleted before their retention ends.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str,
        endpoint: str | None,
        region: str,
        access: str | None,
        secret: str | None,
    ) -> None:
        import boto3
        from botocore.config import Config

        self.bucket = bucket
        self.prefix = prefix
        config = Config(
            connect_timeout=3,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "max_attempts": 3},
        )
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=config,
        )

    def create(self, key: str, body: bytes | bytearray) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {409, 412}:
                raise ObjectExists(key) from None
            raise ObjectStoreUnavailable(error.response["Error"]["Code"]) from None
        except BotoCoreError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None

    def read(self, key: str) -> bytes | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            # Closed also when reading fails, because an open stream keeps its connection out of the pool.
            with contextlib.closing(response["Body"]) as stream:
                body: bytes = stream.read()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise ObjectStoreUnavailable(error.response["Error"]["Code"]) from None
        except BotoCoreError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None
        return body

    def delete(self, key: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None

    def keys(self, prefix: str) -> list[str]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            return sorted(
                item["Key"].removeprefix(self.prefix) for page in pages for item in page.get("Contents", [])
            )
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None


@cache
def object_store() -> ObjectStore:
    """Return the store at OBJECT_STORE_URL."""
    return open_store(settings.OBJECT_STORE_URL)


def open_store(
    url: str, *, folder: type[FolderStore] = FolderStore, bucket: type[S3Store] = S3Store
) -> ObjectStore:
    """Return the store at a URL, as an instance of the class `folder` or `bucket`. Raises ValueError.

    The URL is `file:///folder` or `s3://key:secret@bucket/prefix?endpoint=...&region=...`.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path:
        return folder(Path(unquote(parts.path)))
    if parts.scheme != "s3" or not parts.hostname:
        raise ValueError("OBJECT_STORE_URL is file:///folder or s3://bucket/prefix")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    prefix = parts.path.strip("/")
    return bucket(
        bucket=parts.hostname,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=query.get("endpoint"),
        region=query.get("region", "us-east-1"),
        access=unquote(parts.username) if parts.username else None,
        secret=unquote(parts.password) if parts.password else None,
    )
