"""Periodic Celery tasks of sites. `config/settings.py` has their schedule."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core import tenancy
from core.jobs import periodic


@shared_task
def sweep_announcements() -> None:
    """Send the change announcements that did not reach the web processes right after their commit."""
    from sites import change_stream

    change_stream.send_due_announcements(now=timezone.now())


@shared_task
def thin_revisions() -> None:
    """Delete revisions so that fewer remain the older they are."""
    from sites.services import drafts

    now = timezone.now()
    if periodic.claim_slot("thin_revisions", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            drafts.thin_revisions(now=now)


@shared_task
def publish_scheduled() -> None:
    """Carry out scheduled changes of sites and publish posts, as far as they are due."""
    from sites.services import publishing

    publishing.publish_scheduled(now=timezone.now())


@shared_task
def delete_expired() -> None:
    """Delete previews, schedules, invitations and reserved subdomains some time after their end."""
    from sites.services import members, previews, publishing, reservations

    now = timezone.now()
    # The slot has the earlier name of this task, which is stored in the table `core_periodicslot`.
    if periodic.claim_slot("forget_finished", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            previews.delete_expired_previews(before=now - timedelta(days=1))
            publishing.delete_finished_schedules(before=now - timedelta(days=30))
            members.delete_expired_invitations(before=now - timedelta(days=30))
            reservations.delete_expired_reservations(before=now - settings.SOFT_DELETE_FOR)
