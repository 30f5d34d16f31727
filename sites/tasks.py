from celery import shared_task
from django.utils import timezone


@shared_task
def sweep_announcements() -> None:
    """Tell the web processes what a lost message left untold."""
    from sites import announcements

    announcements.sweep(now=timezone.now())
