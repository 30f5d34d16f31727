"""The job queue: a job is a row in PostgreSQL, of a subclass of `core.models.Job`.

A worker claims due rows with FOR UPDATE SKIP LOCKED and a lease. When the worker dies, the lease ends, and
the next worker claims the row again. After `max_attempts` attempts the job is dead and counted in the
metrics. A Celery message only makes a worker look at once; without it a periodic task finds the row.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from celery import current_app
from django.db import transaction
from django.db.models import F
from kombu.exceptions import OperationalError as BrokerUnavailable

from core import tenancy
from core.models import Job
from core.observability import metrics
from core.storage import redis

LEASE = timedelta(minutes=6)  # longer than CELERY_TASK_TIME_LIMIT
J = TypeVar("J", bound=Job)

log = structlog.get_logger(__name__)


def enqueue(task: str, *arguments: str) -> None:
    """Send a message for the Celery task of this name after the commit, so that a job row is worked on at
    once.

    The name keeps services from importing tasks. A message that is lost does no harm: a periodic task finds
    the row within a minute. Redis is asked first, by a client with short timeouts and a circuit breaker, so
    that a broker that is unavailable does not hold the request.
    """

    def send() -> None:
        try:
            redis.call(lambda client: client.ping())
            current_app.send_task(task, args=arguments, retry=False)
        except (redis.RedisUnavailable, BrokerUnavailable):
            log.warning("task_message_lost", task=task)

    transaction.on_commit(send, robust=True)


def claim(kind: type[J], *, now: datetime, limit: int = 100) -> list[J]:
    """Claim up to `limit` due jobs, oldest first; other callers do not get them until the lease ends.

    Also marks due jobs as dead that have no attempts left.
    """
    due = kind._default_manager.filter(status__in=kind.OPEN, due_at__lte=now)
    with tenancy.context(tenancy.SYSTEM):
        # A worker was killed in each attempt: an error would have been recorded by `run`.
        killed = due.filter(attempts__gte=kind.max_attempts)
        if dead := killed.update(status=Job.Status.DEAD, error="killed"):
            metrics.jobs.labels(kind.__name__, "dead").inc(dead)
        jobs = list(due.select_for_update(skip_locked=True, of=("self",)).order_by("due_at")[:limit])
        for job in jobs:
            job.status = Job.Status.RUNNING
            job.attempts = job.attempts + 1
            job.due_at = now + LEASE
        kind._default_manager.bulk_update(jobs, ["status", "attempts", "due_at"])
    return jobs


def claim_row(job: Job, *, now: datetime) -> bool:
    """Claim one waiting job by its id. Returns False when another worker claimed it first."""
    kind = type(job)
    waiting = kind._default_manager.filter(pk=job.pk, status=kind.WAITING_STATUS)
    return waiting.update(status=Job.Status.RUNNING, attempts=F("attempts") + 1, due_at=now + LEASE) == 1


def run(job: Job, action: Callable[[], None], *, now: datetime) -> bool:
    """Run a claimed job and store the result in its row; return whether it succeeded.

    After an error the job becomes due again 2, 4, 8 ... seconds later, at most an hour, and a periodic task
    picks it up. When its attempts are used up it is dead. No exception leaves this function.
    """
    try:
        action()
    except Exception as error:
        job.error = type(error).__name__[:200]
        dead = job.attempts >= job.max_attempts
        job.status = Job.Status.DEAD if dead else Job.Status.WAITING
        job.due_at = now + timedelta(seconds=min(2**job.attempts, 3600))
        log.warning(
            "job_failed",
            job=str(job.pk),
            kind=type(job).__name__,
            attempts=job.attempts,
            dead=dead,
            exc_info=True,
        )
        metrics.jobs.labels(type(job).__name__, "dead" if dead else "failed").inc()
    else:
        job.status = Job.Status.DONE
        job.error = ""
        metrics.jobs.labels(type(job).__name__, "done").inc()
    with tenancy.context(tenancy.SYSTEM):
        # An update, not save(): the row may have been deleted while the job ran.
        rows = type(job)._default_manager.filter(pk=job.pk)
        rows.update(status=job.status, due_at=job.due_at, error=job.error)
    return job.status == Job.Status.DONE
