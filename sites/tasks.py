from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core import jobs, tenancy


@shared_task
def sweep_announcements() -> None:
    """Tell the web processes what a lost message left untold."""
    from sites import announcements

    announcements.sweep(now=timezone.now())


@shared_task
def thin_revisions() -> None:
    """Keep fewer revisions the older they are."""
    from sites import services

    now = timezone.now()
    if jobs.claim_slot("thin_revisions", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            services.thin_revisions(now=now)
