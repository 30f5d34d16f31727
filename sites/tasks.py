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


@shared_task
def publish_scheduled() -> None:
    """What is due: planned changes of sites, and posts whose time has come."""
    from sites import services

    services.publish_scheduled(now=timezone.now())


@shared_task
def forget_finished() -> None:
    """Delete links that expired, plans that were done and invitations that nobody took."""
    from sites import services

    now = timezone.now()
    if jobs.claim_slot("forget_finished", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            services.forget_previews(before=now - timedelta(days=1))
            services.forget_schedules(before=now - timedelta(days=30))
            services.forget_invitations(before=now - timedelta(days=30))
