"""The one task of backups, for a worker of its own (`-Q backups`). Safe to run twice, and to be killed."""

from celery import shared_task
from django.utils import timezone


@shared_task(time_limit=24 * 3600, soft_time_limit=23 * 3600)
def work() -> None:
    """Whatever is due or waits. Where another works already, nothing."""
    from backups import services

    services.work(now=timezone.now())
