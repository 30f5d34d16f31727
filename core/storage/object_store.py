"""The object store: a folder or an S3 bucket. Objects are created once and never overwritten."""

import contextlib
import os
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings


class ObjectExists(Exception):
    """There is an object with this key already; it is as it was."""


class ObjectStoreUnavailable(Exception):
    """The store does not answer, or refuses. Try again later."""


class ObjectStore(Protocol):
    def create(self, key: str, body: bytes | bytearray) -> None:
        """Store `body` under a key that is free. Raises ObjectExists, ObjectStoreAway."""

    def read(self, key: str) -> bytes | None:
        """The object, or None when there is none. Raises ObjectStoreAway."""

    def delete(self, key: str) -> None:
        """Delete an object, if it is there.

        Raises ObjectStoreAway, also where the store keeps what it has.
        """

    def keys(self, prefix: str) -> list[str]:
        """Keys that start with `prefix`, in order. Raises ObjectStoreAway."""


class FolderStore:
    """Objects as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, key: str, body: bytes | bytearray) -> None:
        path = self.folder / key
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)  # whole or not at all, and only where nothing is
        except FileExistsError:
            raise ObjectExists(key) from None
        except OSError as error:
            raise ObjectStoreUnavailable(type(error).__name__) from None
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

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
        below = self.folder / prefix.rpartition("/")[0]
        found = (path.relative_to(self.folder).as_posix() for path in below.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix) and "/." not in f"/{key}")


READ_TIMEOUT_SECONDS = 10  # of one answer from a bucket; botocore tries three times


class S3Store:
    """Objects in a bucket, created with `If-None-Match: *`.

    Turn on object lock there, and nobody can delete them.
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
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            with contextlib.closing(
                answer["Body"]
            ) as stream:  # one that breaks off would keep its connection
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
    """The store at OBJECT_STORE_URL."""
    return open_store(settings.OBJECT_STORE_URL)


def open_store(
    url: str, *, folder: type[FolderStore] = FolderStore, bucket: type[S3Store] = S3Store
) -> ObjectStore:
    """`file:///folder` or `s3://key:secret@bucket/prefix?endpoint=...&region=...`. Raises ValueError."""
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
