"""The one task of backups, for a worker of its own (`-Q backups`). Safe to run twice, and to be killed."""

from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.db import connection
from django.utils import timezone


@shared_task(time_limit=24 * 3600, soft_time_limit=23 * 3600)
def work() -> None:
    """Whatever is due or waits. Where another works already, nothing."""
    from backups.services import worker

    worker.work(now=timezone.now())


@worker_ready.connect
def begin(**_: Any) -> None:
    """A worker that starts does not wait for the next minute: a fresh installation has its first backup at
    once.
    """
    from core.jobs import queue

    queue.enqueue("backups.tasks.work")
    connection.close()  # the pool's children are not to share it
