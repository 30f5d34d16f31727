"""The store of backups against a real S3 server, and through a proxy that injects faults."""

import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from backups.engine import packs
from backups.engine.errors import Damaged
from backups.engine.repository import Repository
from backups.engine.verification import verify_packs
from backups.object_stores import (
    PART_BYTES,
    BackupS3Store,
    Throttle,
    open_backup_store,
    share_failure_domain,
)
from backups.tests.fault_proxy import SLOW_SECONDS, FaultProxy
from backups.tests.helpers import BackupChain, database_checksums
from core.storage import object_store
from core.storage.object_store import ObjectExists, ObjectStoreUnavailable
from tests.s3 import through_proxy


@pytest.fixture
def bucket(s3):
    return open_backup_store(s3)


@pytest.fixture
def proxy(s3):
    proxy = FaultProxy(parse_qs(urlsplit(s3).query)["endpoint"][0])
    yield proxy
    proxy.close()


@pytest.fixture
def proxied_bucket(s3, proxy, monkeypatch):
    """The same bucket through the proxy, with a client that waits one second for a response."""
    monkeypatch.setattr(object_store, "READ_TIMEOUT_SECONDS", 1)
    return open_backup_store(through_proxy(s3, proxy.url))


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 5])
def test_create_stores_an_object_and_never_overwrites_it(bucket, size):
    body = secrets.token_bytes(size)
    bucket.create("packs/a/1", bytearray(body))

    assert bucket.read("packs/a/1") == body
    with pytest.raises(ObjectExists):
        bucket.create("packs/a/1", b"other")
    with pytest.raises(ObjectExists):
        bucket.create("packs/a/1", bytes(PART_BYTES + 1))
    assert bucket.read("packs/a/1") == body
    assert bucket.keys("packs/") == ["packs/a/1"]


def test_create_sends_a_checksum_with_each_part(bucket):
    bucket.create("large", bytes(PART_BYTES + 1))

    head = bucket.client.head_object(Bucket=bucket.bucket, Key="some/prefix/large", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"]


def test_create_and_read_try_again_after_faults(bucket, proxied_bucket, proxy):
    proxy.plan = [
        ("PUT", "503"),
        ("PUT", "drop"),
        ("POST", "503"),
        ("GET", "503"),
        ("GET", "cut"),
        ("GET", "cut"),
    ]
    body = os.urandom(PART_BYTES + 1)
    proxied_bucket.create("object", body)

    assert proxied_bucket.read("object") == body
    assert bucket.read("object") == body
    assert proxy.plan == []


def test_read_does_not_wait_for_a_slow_response(proxied_bucket, proxy):
    proxy.plan = [("GET", "slow")]
    proxied_bucket.create("slow", b"x")
    started = time.monotonic()

    assert proxied_bucket.read("slow") == b"x"
    assert time.monotonic() - started < SLOW_SECONDS


def test_create_that_fails_leaves_no_parts(bucket, proxied_bucket, proxy):
    proxy.always = {"PUT": "503"}

    with pytest.raises(ObjectStoreUnavailable, match="SlowDown"):
        proxied_bucket.create("gone", bytes(PART_BYTES + 1))

    assert bucket.keys("") == []
    assert bucket.client.list_multipart_uploads(Bucket=bucket.bucket).get("Uploads", []) == []


def test_read_never_returns_content_that_changed_on_the_way(
    source_dsn, create_database, proxied_bucket, proxy, keys
):
    chain = BackupChain(source_dsn, proxied_bucket, keys)
    manifest = chain.take()
    repository = Repository(proxied_bucket, keys)
    proxy.always = {"GET": "flip"}
    with pytest.raises((Damaged, ObjectStoreUnavailable)):
        Repository(proxied_bucket, keys).load_manifest(f"runs/{proxied_bucket.keys('runs/')[0]}")
    assert verification_faults(repository, manifest)
    proxy.always = {}

    assert verify_packs(Repository(proxied_bucket, keys), manifest).faults == []
    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


def verification_faults(repository, manifest):
    try:
        return verify_packs(repository, manifest).faults
    except (Damaged, ObjectStoreUnavailable) as error:
        return [str(error)]


@pytest.mark.django_db
def test_run_pending_jobs_discards_a_run_whose_pack_changed_on_the_way(settings, s3, proxy):
    """Amazon refuses a part with a wrong checksum. The server of this test stores it, as others might."""
    from django.utils import timezone

    from backups import config
    from backups.models import BackupRun
    from backups.services import worker

    settings.BACKUP_STORE_URL = through_proxy(s3, proxy.url)
    proxy.plan = [("PUT", "none"), ("PUT", "spoil")]  # the key file, then the pack
    worker.run_pending_jobs(now=timezone.now())
    damaged_run = BackupRun.objects.get()

    assert (damaged_run.status, damaged_run.pk.hex in damaged_run.error) == ("failed", True)
    assert config.repository().list_manifests() == []
    BackupRun.objects.update(created_at=timezone.now() - timedelta(days=1))
    worker.run_pending_jobs(now=timezone.now())
    good_run = BackupRun.objects.exclude(pk=damaged_run.pk).get()
    assert (good_run.status, good_run.kind, good_run.proven_at is not None) == ("done", "full", True)


def test_backup_s3_store_holds_runs_that_restore(source_dsn, create_database, bucket, keys, monkeypatch):
    monkeypatch.setattr(packs, "PACK_BYTES", 1 << 20)
    chain = BackupChain(source_dsn, bucket, keys)
    chain.take()
    chain.take()

    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


def test_lock_until_protects_objects_in_a_bucket_with_object_lock(s3):
    endpoint = parse_qs(urlsplit(s3).query)["endpoint"][0]
    plain = open_backup_store(s3)
    assert isinstance(plain, BackupS3Store)
    plain.create("k", b"x")
    assert plain.lock_until("k", datetime.now(UTC) + timedelta(days=1)) is False
    name = f"locked-{secrets.token_hex(6)}"
    plain.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    locked = open_backup_store(f"s3://a:b@{name}/?endpoint={endpoint}")
    locked.create("k", b"x")
    assert locked.lock_until("k", datetime.now(UTC) + timedelta(days=1)) is True

    locked.delete("k")

    versions = locked.client.list_object_versions(Bucket=name)["Versions"]
    assert [version["Key"] for version in versions] == ["k"], "the deletion only adds a marker"


def test_throttle_sends_one_second_at_once_and_then_waits():
    throttle = Throttle(4 * 1024 * 1024)
    started = time.monotonic()
    for _ in range(4):
        throttle.wait(1024 * 1024)
    assert time.monotonic() - started < 1
    for _ in range(4):
        throttle.wait(1024 * 1024)
    assert 0.8 < time.monotonic() - started < 3


def test_open_backup_store_takes_the_region_from_its_argument(s3):
    assert open_backup_store(s3, region="eu-central-1").client.meta.region_name == "eu-central-1"


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("file:///a", "file:///b", True),
        ("file:///a", "s3://b/", False),
        ("s3://a/?region=x", "s3://b/?region=x", True),
        ("s3://a/?region=x", "s3://b/?region=y", False),
        ("s3://a/?endpoint=http://x&region=r", "s3://a/?endpoint=http://y&region=r", False),
        ("s3://a/", "s3://a/", True),
    ],
)
def test_share_failure_domain_compares_scheme_endpoint_and_region(first, second, shared):
    assert share_failure_domain(first, second) is shared
