"""The periodic tasks of backups, which take hours. Their queues have a worker of their own."""

from datetime import datetime
from typing import Any

from celery.signals import worker_ready
from django.db import connection

from core.jobs.periodic import periodic_task


@periodic_task(time_limit=24 * 3600, soft_time_limit=23 * 3600)
def run_pending_jobs(now: datetime) -> None:
    """Run everything that is due or queued. Returns at once when another worker holds the lock.

    It is safe to run twice and to be killed.
    """
    from backups.services import worker

    worker.run_pending_jobs(now=now)


@periodic_task(time_limit=3 * 3600, soft_time_limit=170 * 60)
def run_site_restores(now: datetime) -> None:
    """Restore all sites that owners asked for. Safe to run twice and to be killed."""
    from backups.services import site_restores

    site_restores.run_pending_site_restores(now=now)


@worker_ready.connect
def enqueue_at_worker_start(**_: Any) -> None:
    """Enqueue the task when a worker starts, so that a new installation has its first backup at once."""
    from core.jobs import queue

    queue.enqueue("backups.tasks.run_pending_jobs")
    connection.close()  # the forked processes of the pool must not share it
