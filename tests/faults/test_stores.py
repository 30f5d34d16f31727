"""Redis and PostgreSQL refuse, freeze, lose data and fill up, while a load runs."""

import os
import subprocess
import time
from contextlib import contextmanager

import psycopg
import pytest

from tests.faults.load import Load
from tests.stack import wait_until

pytestmark = pytest.mark.stack
IS_LONG = bool(os.environ.get("SOAK"))
CALM_SECONDS = 3 if IS_LONG else 1
FAULT_SECONDS = 15 if IS_LONG else 2
# The answers of the API while a store is away: 300 ms more than usual (rate limits, revocation), on a busy
# machine.
MAX_PAGE_SECONDS = 4.0


@contextmanager
def redis_stopped(platform):
    platform.stop_redis()
    yield
    platform.start_redis()


@contextmanager
def redis_frozen(platform):
    platform.freeze_redis(True)
    yield
    platform.freeze_redis(False)


@contextmanager
def redis_emptied(platform):
    """Redis loses its memory twice, between two writes and right after one."""
    for _ in range(2):
        platform.redis_client.flushall()
        time.sleep(0.3)
    yield


@contextmanager
def redis_full(platform):
    platform.redis_client.config_set("maxmemory", 1)
    yield
    platform.redis_client.config_set("maxmemory", 0)


@contextmanager
def postgresql_restarted(platform):
    platform.stop_postgres()
    time.sleep(FAULT_SECONDS)
    platform.start_postgres()
    yield


@contextmanager
def postgresql_frozen(platform):
    platform.freeze_postgres(True)
    yield
    platform.freeze_postgres(False)


@contextmanager
def postgresql_read_only(platform):
    """What a process sees after a failover, as long as its connections lead to the former primary."""
    platform.query("ALTER SYSTEM SET default_transaction_read_only = on")
    platform.query("SELECT pg_reload_conf()")
    yield
    platform.query("ALTER SYSTEM RESET default_transaction_read_only", writable=True)
    platform.query("SELECT pg_reload_conf()")


FAULTS = [redis_frozen, redis_emptied, redis_full, postgresql_restarted]
LONG_FAULTS = [redis_stopped, postgresql_frozen, postgresql_read_only]


@pytest.mark.parametrize("fault", FAULTS + (LONG_FAULTS if IS_LONG else []), ids=lambda fault: fault.__name__)
def test_acknowledged_writes_are_there_once_and_pages_answer(platform, report, fault):
    load = Load(platform)
    with load.running():
        time.sleep(CALM_SECONDS)
        with fault(platform):
            time.sleep(FAULT_SECONDS)
        ended = time.monotonic()
        wait_until(lambda: platform.is_ready(platform.web), seconds=10)
        ready_after = time.monotonic() - ended
        time.sleep(CALM_SECONDS)
    figures = load.check()

    assert set(load.answers["page"].statuses) == {200}, load.answers["page"].statuses
    assert load.answers["page"].slowest() < MAX_PAGE_SECONDS
    assert {process.poll() for process in platform.processes.values()} == {None}, platform.log("critical")
    report({"ready after": round(ready_after, 1), **figures})


def test_liveness_stays_green_and_readiness_turns_red_while_postgresql_is_stopped(platform):
    platform.stop_postgres()
    try:
        wait_until(lambda: not platform.is_ready(platform.web), seconds=10)
        assert platform.web.get("/health/live").status_code == 200
        assert platform.readiness()["database"] in {"unavailable", "no answer"}
    finally:
        platform.start_postgres()
    wait_until(lambda: platform.is_ready(platform.web), seconds=10)


def fill(platform):
    """Fill the tablespace of the table `filler`. Raises DiskFull."""
    statement = "INSERT INTO filler SELECT repeat(md5(random()::text), 200) FROM generate_series(1, 2000)"
    while True:
        platform.query(statement)


if IS_LONG:

    @pytest.fixture
    def small_disk(tmp_path):
        """A file system of 64 MiB. Needs the permission to mount."""
        folder = tmp_path / "small"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
        folder.chmod(0o777)
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_a_full_database_refuses_writes_and_recovers_without_a_restart(platform, small_disk, report):
        """The posts of the site are in a tablespace that fills up."""
        load = Load(platform)
        platform.query(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        platform.query("ALTER TABLE sites_post SET TABLESPACE small")
        platform.query("CREATE TABLE filler (text text) TABLESPACE small")
        try:
            with load.running():
                time.sleep(CALM_SECONDS)
                with pytest.raises(psycopg.errors.DiskFull):
                    fill(platform)
                time.sleep(5)
                refused = load.answers["post"].statuses[503]
                platform.query("DROP TABLE filler")
                time.sleep(CALM_SECONDS)
            figures = load.check()
        finally:
            platform.query("ALTER TABLE sites_post SET TABLESPACE pg_default")
            platform.query("DROP TABLESPACE small")

        assert refused
        report(figures)
