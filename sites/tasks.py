from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core import tenancy
from core.jobs import periodic


@shared_task
def sweep_announcements() -> None:
    """Tell the web processes what a lost message left untold."""
    from sites.serving import change_stream

    change_stream.send_due_announcements(now=timezone.now())


@shared_task
def thin_revisions() -> None:
    """Keep fewer revisions the older they are."""
    from sites.services import drafts

    now = timezone.now()
    if periodic.claim_slot("thin_revisions", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            drafts.thin_revisions(now=now)


@shared_task
def publish_scheduled() -> None:
    """What is due: planned changes of sites, and posts whose time has come."""
    from sites.services import publishing

    publishing.publish_scheduled(now=timezone.now())


@shared_task
def forget_finished() -> None:
    """Delete links that expired, plans that were done and invitations that nobody took."""
    from sites.services import members, previews, publishing

    now = timezone.now()
    if periodic.claim_slot("forget_finished", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            previews.delete_expired_previews(before=now - timedelta(days=1))
            publishing.delete_finished_schedules(before=now - timedelta(days=30))
            members.delete_expired_invitations(before=now - timedelta(days=30))
