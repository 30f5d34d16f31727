"""The job queue: a job is a row in PostgreSQL, of a subclass of `core.models.Job`.

A worker claims one due row at a time with FOR UPDATE SKIP LOCKED and a lease, which it renews while it works.
When the worker dies, the lease ends within a minute, and the next worker claims the row again. After
`max_attempts` attempts the job is dead and shown in the metrics. A Celery message only wakes a worker early;
without it a periodic task finds the row.

A long job runs in steps, so that other jobs of its kind get their turn: its action stores its progress in the
row and raises `ContinueLater`. The job is then due again behind the jobs that are due already.

All times are those of the database (`core.storage.database.current_time`), so that a worker whose clock is
wrong neither delays a job nor takes it from another worker.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from celery import current_app
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, F, Max, Q
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerUnavailable
from redis import Redis

from core import tenancy
from core.models import Job
from core.storage import redis

LEASE = timedelta(minutes=1)
RENEW_LEASE_SECONDS = 20.0
# A sweep ends after this time, before the soft time limit of its task; beat has sent the next message by
# then.
SWEEP_SECONDS = 240.0
# The marker of a waiting message outlives the message when a worker dies; it counts only while its queue is
# not empty.
MARKER_SECONDS = 3600
MARK_MESSAGE_SCRIPT = """
if redis.call('LLEN', KEYS[2]) > 0 and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
return 1
"""
J = TypeVar("J", bound=Job)

log = structlog.get_logger(__name__)


class ContinueLater(Exception):
    """Raised by the action of a job that has finished a step and stored its progress, but is not done.

    `Job.attempts_without_progress` of the stored row must then be 0, so that the step uses up no attempt.
    """


class PermanentFailure(Exception):
    """Raised by the action of a job that would fail in every other attempt too.

    `code` is stored in the field `error` of the job.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def enqueue(task: str) -> None:
    """Send a message for the Celery task of this name after the commit, unless one is waiting already.

    It takes a name, so that services need not import tasks. A message that is lost does no harm: a periodic
    task finds the row within a minute. Redis is asked first, by a client with short timeouts and a circuit
    breaker, so that a broker that is unavailable does not hold the request.
    """

    def send() -> None:
        try:
            if mark_message(task):
                current_app.send_task(task, retry=False)
        except (redis.RedisUnavailable, BrokerUnavailable):
            log.warning("task_message_lost", task=task)

    transaction.on_commit(send, robust=True)


def mark_message(task: str) -> bool:
    """Return whether a message for `task` must be sent, and then mark it as waiting. Raises RedisUnavailable.

    False for `MARKER_SECONDS` while such a message waits in its queue, so that an outage of the workers
    leaves few messages of each task.
    """
    queue_name = settings.CELERY_TASK_ROUTES[task]["queue"]
    keys = [_marker_key(task), message_list(queue_name)]
    script = MARK_MESSAGE_SCRIPT
    return bool(redis.call(lambda client: client.eval(script, len(keys), *keys, MARKER_SECONDS)))


def unmark_message(task: str) -> None:
    """Record that a worker has taken the waiting message for `task`, so that the next one may be sent."""
    redis.deliver(lambda client: client.delete(_marker_key(task)))


def _marker_key(task: str) -> str:
    return f"message:{task}"


def message_list(queue_name: str) -> str:
    """Return the Redis key of the list with the messages of a Celery queue."""
    return f"{settings.CELERY_BROKER_TRANSPORT_OPTIONS['global_keyprefix']}{queue_name}"


def message_counts(client: Redis) -> list[int]:
    """Return the number of messages in each of `settings.QUEUES`. One round trip."""
    with client.pipeline(transaction=False) as pipe:
        for name in settings.QUEUES:
            pipe.llen(message_list(name))
        return list(pipe.execute())


def run_due(
    kind: type[J],
    action: Callable[[J], None],
    *,
    now: datetime,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Run `action` with each job that is due, oldest first, until none is. Returns how many succeeded.

    `now` is the time of the database when the sweep begins. The sweep ends after `SWEEP_SECONDS`, or after a
    job when `should_stop()` is true.
    """
    started = time.monotonic()
    succeeded = 0
    while (elapsed := time.monotonic() - started) < SWEEP_SECONDS:
        current = now + timedelta(seconds=elapsed)
        job = claim(kind, now=current)
        if job is None:
            break
        succeeded += run(job, action, now=current)
        if should_stop():
            break
    return succeeded


def claim(kind: type[J], *, now: datetime) -> J | None:
    """Claim the job that has been due longest; other callers do not get it until its lease ends.

    Also marks due jobs as dead that have no attempts left.
    """
    due = kind._default_manager.filter(status__in=kind.OPEN, due_at__lte=now)
    with tenancy.context(tenancy.SYSTEM):
        job = due.select_for_update(skip_locked=True, of=("self",)).order_by("due_at", "pk").first()
        # A worker was killed in each attempt: an error would have been recorded by `run`.
        while job is not None and job.attempts_without_progress >= kind.max_attempts:
            kind._default_manager.filter(pk=job.pk).update(status=Job.Status.DEAD, error="killed")
            job = due.select_for_update(skip_locked=True, of=("self",)).order_by("due_at", "pk").first()
        if job is not None:
            job.status = Job.Status.RUNNING
            job.attempts = job.attempts + 1
            job.due_at = now + LEASE
            job.save(update_fields=["status", "attempts", "due_at"])
    return job


def claim_row(job: Job, *, now: datetime) -> bool:
    """Claim one waiting job by its id. Returns False when another worker claimed it first."""
    kind = type(job)
    waiting = kind._default_manager.filter(pk=job.pk, status=kind.WAITING_STATUS)
    return waiting.update(status=Job.Status.RUNNING, attempts=F("attempts") + 1, due_at=now + LEASE) == 1


def run(job: J, action: Callable[[J], None], *, now: datetime) -> bool:
    """Run a claimed job and store the result in its row; return whether it succeeded.

    After an error the job becomes due again 2, 4, 8 ... seconds later, at most an hour, and a periodic task
    picks it up. When its attempts are used up, or after `PermanentFailure`, it is dead. After `ContinueLater`
    it is due at once. No exception leaves this function.
    """
    started = time.monotonic()
    try:
        with _renewed_lease(job):
            action(job)
    except ContinueLater:
        job.status = Job.Status.WAITING
        job.error = ""
        job.due_at = now + timedelta(seconds=time.monotonic() - started)
    except Exception as error:
        _set_failure(job, error, now=now)
        log.warning(
            "job_failed",
            job=str(job.pk),
            kind=type(job).__name__,
            attempts=job.attempts,
            dead=job.status == Job.Status.DEAD,
            exc_info=True,
        )
    else:
        job.status = Job.Status.DONE
        job.error = ""
    with tenancy.context(tenancy.SYSTEM):
        # An update, not save(): the row may have been deleted while the job ran, or claimed by another worker
        # after the lease ended.
        rows = type(job)._default_manager.filter(pk=job.pk, attempts=job.attempts)
        rows.update(status=job.status, due_at=job.due_at, error=job.error)
    return job.status == Job.Status.DONE


def _set_failure(job: Job, error: Exception, *, now: datetime) -> None:
    """Set the fields of a job whose action raised `error`."""
    attempts = job.attempts_without_progress
    dead = isinstance(error, PermanentFailure) or attempts >= job.max_attempts
    job.error = error.code if isinstance(error, PermanentFailure) else type(error).__name__[:200]
    job.status = Job.Status.DEAD if dead else Job.Status.WAITING
    job.due_at = now + timedelta(seconds=min(2**attempts, 3600))


@contextmanager
def _renewed_lease(job: Job) -> Iterator[None]:
    """Renew the lease of a running job every `RENEW_LEASE_SECONDS`, from a thread, until the block ends."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_LEASE_SECONDS):
            try:
                with tenancy.context(tenancy.SYSTEM):
                    rows = type(job)._default_manager.filter(
                        pk=job.pk, attempts=job.attempts, status=Job.Status.RUNNING
                    )
                    rows.update(due_at=Now() + LEASE)
            except DatabaseError:
                log.warning("lease_not_renewed", job=str(job.pk), kind=type(job).__name__)
            finally:
                connection.close()

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def job_models() -> list[type[Job]]:
    """Return the models of all kinds of jobs."""
    return [model for model in apps.get_models() if issubclass(model, Job)]


@dataclass(frozen=True)
class Backlog:
    """The jobs of one kind that are open or dead.

    `counts` are numbers by status, without those that are 0. `oldest_due_seconds` is how long the oldest due
    job has been due; a job that a worker holds with a lease is not due. `retrying` is the number of waiting
    jobs whose last attempt failed.
    """

    counts: dict[str, int]
    oldest_due_seconds: float
    retrying: int


def backlog(kind: type[Job]) -> Backlog:
    """Return the open and dead jobs of a kind, as numbers. Two queries."""
    with tenancy.context(tenancy.SYSTEM):
        rows: Any = kind._default_manager.filter(status__in=[*kind.OPEN, Job.Status.DEAD])
        counts = dict(rows.values_list("status").order_by("status").annotate(Count("pk")))
        open_jobs = kind._default_manager.filter(status__in=kind.OPEN).aggregate(
            age=Max(Now() - F("due_at")),
            retrying=Count("pk", filter=Q(status=kind.WAITING_STATUS, attempts__gt=0)),
        )
    age: timedelta | None = open_jobs["age"]
    return Backlog(counts, max(0.0, age.total_seconds()) if age else 0.0, open_jobs["retrying"])
