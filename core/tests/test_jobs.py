"""Work is a row: claimed once, tried again, dead at last."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils.module_loading import import_string

from config.celery import app
from core import tenancy
from core.jobs import periodic, queue
from core.models import Job
from core.storage import redis
from sites.models import Announcement
from sites.serving import change_stream
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def rows():
    site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        return Announcement.objects.bulk_create(
            Announcement(site=site, host=f"h{number}", due_at=NOW) for number in range(20)
        )


def stored(row):
    with tenancy.context(tenancy.SYSTEM):
        return Announcement.objects.get(pk=row.pk)


@pytest.mark.commits
def test_parallel_claims_share_the_rows_out_once(rows):
    def claim(_):
        try:
            return [job.pk for job in queue.claim(Announcement, now=NOW, limit=3)]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        claimed = [pk for batch in pool.map(claim, range(10)) for pk in batch]

    assert len(claimed) == len(set(claimed)) == 20


def test_a_claim_whose_worker_died_is_claimed_again_after_its_lease(rows):
    first = queue.claim(Announcement, now=NOW)

    assert queue.claim(Announcement, now=NOW + queue.LEASE - timedelta(seconds=1)) == []
    again = queue.claim(Announcement, now=NOW + queue.LEASE)
    assert {job.pk for job in again} == {job.pk for job in first}
    assert {job.attempts for job in again} == {2}


def test_a_job_that_fails_is_tried_later_and_is_dead_in_the_end(rows):
    def fail():
        raise RuntimeError("secret text")

    now = NOW
    delays = []
    while True:
        (job,) = [job for job in queue.claim(Announcement, now=now) if job.pk == rows[0].pk]
        assert not queue.run(job, fail, now=now)
        if job.state == Job.State.DEAD:
            break
        delays.append((job.due_at - now).total_seconds())
        now = job.due_at

    kept = stored(rows[0])
    assert (kept.state, kept.attempts, kept.error) == ("dead", Announcement.max_attempts, "RuntimeError")
    assert delays == [2, 4, 8, 16, 32, 64, 128]


@pytest.mark.commits
def test_one_slot_is_claimed_once_by_any_number_of_beats():
    def claim(minute):
        try:
            return periodic.claim_slot(
                "tidy", every=timedelta(minutes=5), now=NOW + timedelta(minutes=minute)
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(claim, [0, 1, 2, 3, 4, 4, 3, 0]))
        second = list(pool.map(claim, [5, 6, 9, 9, 5]))

    assert (first.count(True), second.count(True)) == (1, 1)
    assert not claim(4)  # a clock that steps back gets no slot twice


def test_the_sweep_announces_what_redis_did_not_take_and_forgets_it(rows):
    assert change_stream.sweep(now=NOW) == 20

    entries = redis.client().xrange(change_stream.STREAM)
    assert sorted(fields[b"host"].decode() for _, fields in entries) == sorted(row.host for row in rows)
    with tenancy.context(tenancy.SYSTEM):
        assert Announcement.objects.count() == 0
    assert change_stream.sweep(now=NOW) == 0


def test_every_scheduled_task_exists_and_expires_with_its_period():
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert import_string(entry["task"]).name in app.tasks, name
        assert entry["options"]["expires"] == entry["schedule"], name


def test_every_scheduled_task_runs_twice_without_harm():
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task = import_string(entry["task"])
        assert (task.apply().state, task.apply().state) == ("SUCCESS", "SUCCESS")


@pytest.mark.commits
def test_a_claim_passes_over_rows_that_somebody_holds(rows):
    held = threading.Event()
    done = threading.Event()

    def hold():
        try:
            with tenancy.context(tenancy.SYSTEM):
                list(Announcement.objects.select_for_update().filter(pk=rows[0].pk))
                held.set()
                done.wait(20)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(10)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            claimed = queue.claim(Announcement, now=NOW)
        finally:
            done.set()
            holding.result()
            connection.close()

    assert {job.pk for job in claimed} == {row.pk for row in rows[1:]}


def test_enqueue_sends_a_message_to_the_broker_that_the_workers_read(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        queue.enqueue("core.tasks.deliver_mail")

    assert redis.client().llen("celery:celery") == 1


def test_enqueue_is_called_with_the_names_of_registered_tasks_only():
    app.loader.import_default_modules()
    names = {
        name
        for path in settings.BASE_DIR.glob("*/**/*.py")
        if "tests" not in path.parts and "var" not in path.parts and ".venv" not in path.parts
        for name in re.findall(r"\benqueue\(\s*\"([\w.]+)\"", path.read_text())
    }

    assert names
    assert names <= app.tasks.keys()


def test_enqueue_does_not_raise_when_the_broker_is_unavailable(
    django_capture_on_commit_callbacks, monkeypatch
):
    monkeypatch.setattr(redis, "call", lambda act: (_ for _ in ()).throw(redis.RedisUnavailable))

    with django_capture_on_commit_callbacks(execute=True):
        queue.enqueue("core.tasks.deliver_mail")

    assert redis.client().llen("celery:celery") == 0
