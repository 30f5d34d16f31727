"""The store of backups against a real S3 server, and against one whose network does harm."""

import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from backups import startup_checks
from backups.engine import packs
from backups.engine.errors import Damaged
from backups.engine.repository import Repository
from backups.engine.verification import verify
from backups.object_stores import PART, BackupBucket, Throttle, open_backup_store, same_place
from backups.tests.fault_proxy import SLOW_SECONDS, FaultProxy
from backups.tests.test_increments import Runs, now
from backups.tests.test_increments import source as filled  # noqa: F401 - a fixture
from core.storage import object_store
from core.storage.object_store import ObjectExists, ObjectStoreUnavailable
from tests.s3 import through_proxy


@pytest.fixture
def bucket(s3):
    return open_backup_store(s3)


@pytest.fixture
def proxy(s3):
    made = FaultProxy(parse_qs(urlsplit(s3).query)["endpoint"][0])
    yield made
    made.close()


@pytest.fixture
def through(s3, proxy, monkeypatch):
    """The same bucket by way of the proxy, with a client that waits a second for an answer."""
    monkeypatch.setattr(object_store, "READ_TIMEOUT_SECONDS", 1)
    return open_backup_store(through_proxy(s3, proxy.url))


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART + 5])
def test_objects_come_back_and_are_never_overwritten(bucket, size):
    body = secrets.token_bytes(size)
    bucket.create("packs/a/1", bytearray(body))

    assert bucket.read("packs/a/1") == body
    with pytest.raises(ObjectExists):
        bucket.create("packs/a/1", b"other")
    with pytest.raises(ObjectExists):
        bucket.create("packs/a/1", bytes(PART + 1))
    assert bucket.read("packs/a/1") == body
    assert bucket.keys("packs/") == ["packs/a/1"]


def test_each_part_carries_its_checksum(bucket):
    bucket.create("large", bytes(PART + 1))

    found = bucket.client.head_object(Bucket=bucket.bucket, Key="some/prefix/large", ChecksumMode="ENABLED")
    assert found["ChecksumSHA256"]


def test_a_store_that_stumbles_is_tried_again(bucket, through, proxy):
    proxy.plan = [
        ("PUT", "503"),
        ("PUT", "drop"),
        ("POST", "503"),
        ("GET", "503"),
        ("GET", "cut"),
        ("GET", "cut"),
    ]
    body = os.urandom(PART + 1)
    through.create("stumbled", body)

    assert through.read("stumbled") == body
    assert bucket.read("stumbled") == body
    assert proxy.plan == []


def test_a_store_that_is_slow_is_not_waited_for_for_ever(through, proxy):
    proxy.plan = [("GET", "slow")]
    through.create("slow", b"x")
    began = time.monotonic()

    assert through.read("slow") == b"x"
    assert time.monotonic() - began < SLOW_SECONDS


def test_a_store_that_is_gone_is_a_refusal_and_leaves_no_parts(bucket, through, proxy):
    proxy.always = {"PUT": "503"}
    with pytest.raises(ObjectStoreUnavailable, match="SlowDown"):
        through.create("gone", bytes(PART + 1))

    assert bucket.keys("") == []
    assert bucket.client.list_multipart_uploads(Bucket=bucket.bucket).get("Uploads", []) == []


def test_what_the_network_flips_on_the_way_back_is_never_taken_for_good(
    filled,  # noqa: F811
    databases,
    through,
    proxy,
    keys,
):
    runs = Runs(filled, through, keys)
    manifest = runs.take()
    repository = Repository(through, keys)
    proxy.always = {"GET": "flip"}
    with pytest.raises((Damaged, ObjectStoreUnavailable)):
        Repository(through, keys).manifest(f"runs/{through.keys('runs/')[0]}")
    faults, _ = _verified(repository, manifest)
    assert faults
    proxy.always = {}

    assert verify(Repository(through, keys), manifest)[0] == []
    assert runs.restored(databases()) == now(filled)


def _verified(repository, manifest):
    try:
        return verify(repository, manifest)
    except (Damaged, ObjectStoreUnavailable) as fault:
        return [str(fault)], 1


@pytest.mark.django_db
def test_what_the_network_spoils_on_the_way_there_is_noticed_at_once_and_never_offered(settings, s3, proxy):
    """Amazon refuses a part whose checksum is wrong; the server of this test takes it, as others might."""
    from django.utils import timezone

    from backups import config
    from backups.models import BackupRun
    from backups.services import worker

    settings.BACKUP_STORE_URL = through_proxy(s3, proxy.url)
    proxy.plan = [("PUT", "none"), ("PUT", "spoil")]  # the key file, then the pack
    worker.work(now=timezone.now())
    bad = BackupRun.objects.get()

    assert (bad.status, bad.pk.hex in bad.error) == ("failed", True)
    assert config.repository().runs() == []
    BackupRun.objects.update(created_at=timezone.now() - timedelta(days=1))
    worker.work(now=timezone.now())
    good = BackupRun.objects.exclude(pk=bad.pk).get()
    assert (good.status, good.kind, good.proven_at is not None) == ("done", "full", True)


def test_a_run_over_the_network_comes_back(filled, databases, bucket, keys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(packs, "PACK", 1 << 20)
    runs = Runs(filled, bucket, keys)
    runs.take()
    runs.take()

    assert runs.restored(databases()) == now(filled)


def test_a_bucket_with_object_lock_keeps_what_a_backup_needs(s3):
    endpoint = parse_qs(urlsplit(s3).query)["endpoint"][0]
    plain = open_backup_store(s3)
    assert isinstance(plain, BackupBucket)
    plain.create("k", b"x")
    assert plain.keep_until("k", datetime.now(UTC) + timedelta(days=1)) is False
    name = f"locked-{secrets.token_hex(6)}"
    plain.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    locked = open_backup_store(f"s3://a:b@{name}/?endpoint={endpoint}")
    locked.create("k", b"x")
    assert locked.keep_until("k", datetime.now(UTC) + timedelta(days=1)) is True

    locked.delete("k")
    versions = locked.client.list_object_versions(Bucket=name)
    assert [one["Key"] for one in versions["Versions"]] == ["k"], "a deletion hides it; what was there stays"


def test_a_limit_is_kept():
    throttle = Throttle(4 * 1024 * 1024)
    began = time.monotonic()
    for _ in range(4):
        throttle.wait(1024 * 1024)
    assert time.monotonic() - began < 1, "a second's worth goes at once"
    for _ in range(4):
        throttle.wait(1024 * 1024)
    assert 0.8 < time.monotonic() - began < 3


def test_the_region_has_a_variable_of_its_own(s3):
    assert open_backup_store(s3, region="eu-central-1").client.meta.region_name == "eu-central-1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("file:///a", "file:///b", True),
        ("file:///a", "s3://b/", False),
        ("s3://a/?region=x", "s3://b/?region=x", True),
        ("s3://a/?region=x", "s3://b/?region=y", False),
        ("s3://a/?endpoint=http://x&region=r", "s3://a/?endpoint=http://y&region=r", False),
        ("s3://a/", "s3://a/", True),
    ],
)
def test_a_boot_warns_of_backups_beside_what_they_save(settings, one, other, same):
    settings.BACKUP_STORE_URL = one
    settings.OBJECT_STORE_URL = other
    settings.DEVELOPMENT = False
    settings.BACKUP_S3_REGION = ""
    with capture_logs() as lines:
        startup_checks.check()

    assert same_place(one, other) is same
    assert [line["event"] for line in lines] == ["backups_beside_assets"] * same


def test_the_regions_own_variable_counts_for_the_warning(settings):
    settings.BACKUP_STORE_URL = "s3://a/?region=x"
    settings.OBJECT_STORE_URL = "s3://b/?region=y"
    settings.DEVELOPMENT = False
    settings.BACKUP_S3_REGION = "y"
    with capture_logs() as lines:
        startup_checks.check()

    assert [line["event"] for line in lines] == ["backups_beside_assets"]
