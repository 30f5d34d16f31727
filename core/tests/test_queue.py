"""The job queue: claims, retries, dead jobs, and the messages that hurry workers."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone

from audit.actors import SYSTEM
from config.celery import app
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.jobs import queue
from core.models import Job
from core.storage import redis
from sites import change_stream
from sites.models import Announcement
from sites.services.publishing import publish_site
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


@pytest.mark.commits
def test_claim_gives_each_job_to_one_of_parallel_callers(rows):
    def claim_ids(_):
        try:
            return [job.pk for _ in range(3) if (job := queue.claim(Announcement, now=NOW))]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        claimed = [pk for batch in pool.map(claim_ids, range(10)) for pk in batch]

    assert len(claimed) == len(set(claimed)) == 20


def claim_all(now):
    """Claim jobs until none is due."""
    claimed = []
    while job := queue.claim(Announcement, now=now):
        claimed.append(job)
    return claimed


def test_claim_returns_a_running_job_again_after_its_lease(rows):
    first = claim_all(NOW)

    assert claim_all(NOW + queue.LEASE - timedelta(seconds=1)) == []
    again = claim_all(NOW + queue.LEASE)
    assert {job.pk for job in again} == {job.pk for job in first}
    assert {job.attempts for job in again} == {2}


def test_run_retries_a_failed_job_with_growing_delays_until_it_is_dead(rows):
    def fail(job):
        raise RuntimeError("secret text")

    now = NOW
    delays = []
    while True:
        (job,) = [job for job in claim_all(now) if job.pk == rows[0].pk]
        assert not queue.run(job, fail, now=now)
        if job.status == Job.Status.DEAD:
            break
        delays.append((job.due_at - now).total_seconds())
        now = job.due_at

    with tenancy.context(tenancy.SYSTEM):
        stored = Announcement.objects.get(pk=rows[0].pk)
    assert (stored.status, stored.attempts, stored.error) == (
        "dead",
        Announcement.max_attempts,
        "RuntimeError",
    )
    assert delays == [2, 4, 8, 16, 32, 64, 128]


def test_sweep_announces_and_deletes_the_waiting_announcements(rows):
    assert change_stream.send_due_announcements(now=NOW) == 20

    entries = redis.client().xrange(change_stream.STREAM)
    assert sorted(fields[b"host"].decode() for _, fields in entries) == sorted(row.host for row in rows)
    with tenancy.context(tenancy.SYSTEM):
        assert Announcement.objects.count() == 0
    assert change_stream.send_due_announcements(now=NOW) == 0


@pytest.mark.commits
def test_claim_skips_locked_rows(rows):
    is_locked = threading.Event()
    may_unlock = threading.Event()

    def lock_first_row():
        try:
            with tenancy.context(tenancy.SYSTEM):
                list(Announcement.objects.select_for_update().filter(pk=rows[0].pk))
                is_locked.set()
                may_unlock.wait(20)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        lock_holder = pool.submit(lock_first_row)
        assert is_locked.wait(10)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            claimed = claim_all(NOW)
        finally:
            may_unlock.set()
            lock_holder.result()
            connection.close()

    assert {job.pk for job in claimed} == {row.pk for row in rows[1:]}


def test_enqueue_sends_a_message_to_the_broker_that_the_workers_read(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        queue.enqueue("core.tasks.deliver_mail")

    assert redis.client().llen("celery:mail") == 1


def test_enqueue_leaves_one_message_for_a_task_until_a_worker_takes_it(django_capture_on_commit_callbacks):
    def enqueue_twice():
        with django_capture_on_commit_callbacks(execute=True):
            queue.enqueue("core.tasks.deliver_mail")
            queue.enqueue("core.tasks.deliver_mail")

    enqueue_twice()
    assert redis.client().llen("celery:mail") == 1
    queue.unmark_message("core.tasks.deliver_mail")  # a worker begins with the task
    enqueue_twice()
    assert redis.client().llen("celery:mail") == 2
    redis.client().delete("celery:mail")  # the worker was killed, and its message is lost
    enqueue_twice()
    assert redis.client().llen("celery:mail") == 1


def test_run_due_runs_every_due_job_once_and_stops_when_told(rows):
    seen = []

    succeeded = queue.run_due(
        Announcement, lambda job: seen.append(job.pk), now=NOW, should_stop=lambda: len(seen) == 5
    )
    assert (succeeded, len(seen)) == (5, 5)
    assert queue.run_due(Announcement, lambda job: seen.append(job.pk), now=NOW) == 15
    assert sorted(seen) == sorted(row.pk for row in rows)


def test_run_due_continues_a_job_behind_the_others_that_are_due(rows):
    order = []

    def work_in_three_steps(job):
        order.append(job.pk)
        if order.count(job.pk) < 3:
            raise queue.ContinueLater

    assert queue.run_due(Announcement, work_in_three_steps, now=NOW) == 20

    assert order == [row.pk for row in rows] * 3


def test_run_makes_a_job_dead_at_its_first_permanent_failure(rows):
    def fail(job):
        raise queue.PermanentFailure("too_large")

    job = queue.claim(Announcement, now=NOW)
    assert not queue.run(job, fail, now=NOW)

    with tenancy.context(tenancy.SYSTEM):
        stored = Announcement.objects.get(pk=job.pk)
    assert (stored.status, stored.attempts, stored.error) == ("dead", 1, "too_large")


@pytest.mark.commits
def test_run_renews_the_lease_of_a_long_job(rows, monkeypatch):
    monkeypatch.setattr(queue, "RENEW_LEASE_SECONDS", 0.05)
    job = queue.claim(Announcement, now=NOW)
    ends = []

    def work(running):
        time.sleep(0.2)
        with tenancy.context(tenancy.SYSTEM):
            ends.append(Announcement.objects.get(pk=running.pk).due_at)

    assert queue.run(job, work, now=NOW)
    # The renewal uses the time of the database, which is not that of the claim.
    assert abs(ends[0] - timezone.now() - queue.LEASE) < timedelta(seconds=10)


def test_run_does_not_change_the_row_of_a_job_that_another_worker_has_claimed(rows):
    job = queue.claim(Announcement, now=NOW)

    def lose_lease(running):
        with tenancy.context(tenancy.SYSTEM):
            Announcement.objects.filter(pk=running.pk).update(attempts=2)

    queue.run(job, lose_lease, now=NOW)

    with tenancy.context(tenancy.SYSTEM):
        assert Announcement.objects.get(pk=job.pk).status == Job.Status.RUNNING


def test_backlog_counts_open_dead_and_retrying_jobs_and_the_age_of_the_oldest_due_one(rows):
    with tenancy.context(tenancy.SYSTEM):
        Announcement.objects.filter(pk=rows[0].pk).update(due_at=timezone.now() - timedelta(minutes=5))
        Announcement.objects.filter(pk=rows[1].pk).update(status=Job.Status.DEAD, attempts=8)
        Announcement.objects.filter(pk=rows[2].pk).update(status=Job.Status.RUNNING, attempts=1)
        Announcement.objects.filter(pk__in=[rows[3].pk, rows[4].pk]).update(attempts=2)

    backlog = queue.backlog(Announcement)

    assert (backlog.counts, backlog.retrying) == ({"waiting": 18, "running": 1, "dead": 1}, 2)
    assert 299 < backlog.oldest_due_seconds < 330


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

    assert redis.client().llen("celery:mail") == 0


def test_sweep_announces_a_publication_that_redis_did_not_take(own_redis, restart_redis):
    site = SiteFactory()
    own_redis.stop()
    with tenancy.context(tenancy.SYSTEM):
        publish_site(site, actor=SYSTEM, if_match=ANY_VERSION)
    with tenancy.context(tenancy.SYSTEM):
        assert [row.host for row in Announcement.objects.all()] == [f"{site.subdomain}.localhost"]

    restart_redis()

    # During the grace period the process that published may still announce it itself.
    assert change_stream.send_due_announcements(now=timezone.now()) == 0
    assert change_stream.send_due_announcements(now=timezone.now() + change_stream.RETRY_DELAY) == 1
    # It may be announced twice: the process that published goes on trying too, and a repeat does no harm.
    entries = redis.client().xrange(change_stream.STREAM)
    assert {fields[b"host"] for _, fields in entries} == {f"{site.subdomain}.localhost".encode()}
