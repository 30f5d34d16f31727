"""Workers are killed, flooded, frozen by a silent mail server or have a wrong clock, and due work is still

done.
"""

import json
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from core.jobs import broker
from sites.tests.factories import document, page
from tests.faults.load import Load
from tests.stack import RegisteredUser, wait_until

pytestmark = pytest.mark.stack
IS_LONG = bool(os.environ.get("SOAK"))
WAITING_MESSAGES = 50_000 if IS_LONG else 5_000
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


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


def message_for(platform, task, queue):
    """The raw message of a task, as beat sends it."""
    from celery import Celery

    app = Celery(broker=platform.redis_url)
    app.conf.broker_transport_options = {"global_keyprefix": "celery:"}
    app.send_task(task, queue="template")
    raw = json.loads(platform.redis_client.rpop("celery:template"))
    raw["properties"]["delivery_info"]["routing_key"] = queue
    app.close()
    return json.dumps(raw)


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
    message = message_for(platform, "core.tasks.delete_expired_answers", "default")
    with platform.redis_client.pipeline(transaction=False) as pipe:
        for _ in range(WAITING_MESSAGES):
            pipe.lpush("celery:default", message)
        pipe.execute()
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
        message_for(platform, "no.such.task", "critical").encode(),
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
