"""Stores refuse, freeze, lose data and fill up; workers are killed, flooded or have a wrong clock.

All of it happens to one platform of real processes, most of it while a load runs (`tests.faults.load`). The
long form (`make faults`) lasts longer and has more faults.
"""

import json
import os
import socket
import subprocess
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from core.jobs import broker
from sites.tests.factories import document, page
from tests.faults.load import Load
from tests.stack import RegisteredUser, wait_until

pytestmark = pytest.mark.stack
IS_LONG = bool(os.environ.get("SOAK"))
CALM_SECONDS = 3 if IS_LONG else 1
FAULT_SECONDS = 15 if IS_LONG else 2
# The answers of the API while a store is away: 300 ms more than usual (rate limits, revocation), on a busy
# machine.
MAX_PAGE_SECONDS = 4.0
WAITING_MESSAGES = 50_000 if IS_LONG else 5_000
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


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


def fill(platform, *, rows):
    """Insert so many rows of 6 kB at a time into the table `filler` until its file system is full."""
    statement = "INSERT INTO filler SELECT repeat(md5(random()::text), 190) FROM generate_series(1, %s)"
    with suppress(psycopg.errors.DiskFull):
        while True:
            platform.query(statement, rows)


if IS_LONG:

    @pytest.fixture
    def small_disk(platform):
        """A file system of 64 MiB that PostgreSQL may write to. Needs the permission to mount."""
        folder = platform.home / "small"
        folder.mkdir()
        account = platform.postgres.account
        owner = account.pw_uid if account else os.getuid()
        options = f"size=64m,mode=700,uid={owner}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_a_full_database_refuses_writes_and_recovers_without_a_restart(platform, small_disk, report):
        """The posts of the site are in a tablespace that fills up."""
        load = Load(platform)
        platform.query(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        platform.query("ALTER TABLE sites_post SET TABLESPACE small")
        platform.query("CREATE TABLE filler (text text) TABLESPACE small")
        platform.query("ALTER TABLE filler ALTER text SET STORAGE PLAIN")  # neither compressed nor apart
        try:
            with load.running():
                time.sleep(CALM_SECONDS)
                fill(platform, rows=2000)
                fill(platform, rows=1)  # many rows at once need more room than one of them
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


def is_published(platform, host, title):
    return f"<title>{title}</title>" in platform.web.get("/", host).text


def schedule_publish(person, site_id, title, *, seconds):
    """Save a draft with `title`, and schedule its publish."""
    blueprint = document(page("/"), settings={"title": title})
    assert person.call("PUT", f"sites/{site_id}/blueprint", blueprint, **{"If-Match": "*"}).status_code == 200
    at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    body = {"act": "publish", "at": at}
    response = person.call("POST", f"sites/{site_id}/schedules", body, **{"If-Match": "*"})
    assert response.status_code == 201, response.text


@pytest.fixture
def person(platform):
    user = RegisteredUser(platform.web)
    yield user
    user.browser.close()


def messages_for(platform, task, queue, *, count):
    """Raw messages of a task, as beat sends them."""
    from celery import Celery

    app = Celery(broker=platform.redis_url)
    app.conf.broker_transport_options = {"global_keyprefix": "celery:"}
    app.send_task(task, queue="template")
    raw = json.loads(platform.redis_client.rpop("celery:template"))
    raw["properties"]["delivery_info"]["routing_key"] = queue
    app.close()
    messages = []
    for _ in range(count):
        number = str(uuid.uuid4())
        raw["headers"]["id"] = raw["properties"]["correlation_id"] = number
        raw["properties"]["delivery_tag"] = number
        messages.append(json.dumps(raw))
    return messages


@pytest.fixture
def silent_mail_server(platform):
    """A server on the port of the mail server that accepts connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", platform.mail_port))
    connections = []

    def accept():
        while True:
            try:
                connections.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    yield connections
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in connections:
        connection.close()


def test_a_flooded_queue_and_a_silent_mail_server_delay_neither_a_schedule_nor_events(
    platform, person, silent_mail_server, report
):
    site_id, host = person.publish()
    task = "core.tasks.delete_expired_answers"
    messages = messages_for(platform, task, "default", count=WAITING_MESSAGES)
    platform.redis_client.lpush("celery:default", *messages)
    person.browser.post("/api/v1/auth/password/forgot", json={"email": person.email})  # a mail that must wait
    load = Load(platform)
    schedule_publish(person, site_id, "On time", seconds=2)
    started = time.monotonic()
    with load.running():
        wait_until(lambda: is_published(platform, host, "On time"), seconds=30)
        published_after = time.monotonic() - started
        wait_until(lambda: silent_mail_server, seconds=20)  # the worker of mail waits for it
    figures = load.check()
    waiting = platform.redis_client.llen("celery:default")
    platform.redis_client.delete("celery:default")

    assert published_after < 20  # due after 2 s, and looked for every 10 s
    report({"published after": round(published_after, 1), "messages still waiting": waiting, **figures})


def test_workers_set_aside_what_is_no_message_of_theirs_and_go_on(platform, person, report):
    client = platform.redis_client
    before = int(client.get(broker.REJECTED_COUNT_KEY) or 0)
    broken = [
        b"\xff\xfe not JSON",
        b"{}",
        b"[1, 2]",
        b'"text"',
        json.dumps(
            {"body": "%%%", "headers": {}, "properties": {}, "content-type": "application/json"}
        ).encode(),
        *messages_for(platform, "no.such.task", "critical", count=1),
    ]
    for item in broken:
        client.lpush("celery:critical", item)

    wait_until(lambda: int(client.get(broker.REJECTED_COUNT_KEY) or 0) - before == len(broken), seconds=20)
    site_id, host = person.publish()
    schedule_publish(person, site_id, "Still working", seconds=1)
    wait_until(lambda: is_published(platform, host, "Still working"), seconds=30)
    assert platform.processes["critical"].poll() is None
    report({"set aside": len(broken)})


def test_beat_leaves_one_message_for_each_task_while_no_worker_runs(platform):
    platform.stop("critical")
    try:
        time.sleep(5)
        waiting = platform.redis_client.llen("celery:critical")
    finally:
        platform.start_worker("critical")
    platform.wait_until_complete()

    assert 1 <= waiting <= 6  # tasks of the queue


if IS_LONG:

    @pytest.mark.parametrize("shift", ["+5m", "-5m"])
    def test_a_worker_with_a_wrong_clock_does_its_work_on_time(platform, person, report, shift):
        platform.stop("critical")
        platform.start_worker(
            "critical", LD_PRELOAD=FAKETIME, FAKETIME=shift, FAKETIME_DONT_FAKE_MONOTONIC="1"
        )
        load = Load(platform)
        site_id, host = person.publish()
        schedule_publish(person, site_id, shift, seconds=2)
        started = time.monotonic()
        try:
            with load.running():
                wait_until(lambda: is_published(platform, host, shift), seconds=40)
                published_after = time.monotonic() - started
            figures = load.check()
            unsealed = "SELECT coalesce(extract(epoch FROM now() - min(since)), 0) FROM audit_pending"
            wait_until(lambda: float(platform.query(unsealed)[0][0]) < 30, seconds=60)
        finally:
            platform.stop("critical")
            platform.start_worker("critical")
        assert published_after < 40
        report({"published after": round(published_after, 1), **figures})

    def test_killed_workers_lose_nothing_and_double_nothing(platform, person, report):
        load = Load(platform)
        with load.running():
            for _ in range(5):
                time.sleep(2)
                platform.kill("critical")
                platform.start_worker("critical")
        platform.wait_until_complete()
        figures = load.check()
        assert figures["events"]
        report(figures)

    def test_two_beats_and_a_restarted_web_process_double_nothing(platform, person, report):
        load = Load(platform)
        platform.start_beat("second-beat")
        try:
            with load.running():
                time.sleep(5)
                platform.restart_web()
                time.sleep(5)
            figures = load.check()
        finally:
            platform.stop("second-beat")
        runs = platform.query("SELECT job, count(*) FROM core_periodicslot GROUP BY 1")
        assert {count for _, count in runs} == {1}
        report(figures)
