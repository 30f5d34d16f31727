"""Periodic tasks of sites."""

from datetime import datetime, timedelta

from django.conf import settings

from core import tenancy
from core.jobs.periodic import periodic_task


@periodic_task()
def sweep_announcements(now: datetime) -> None:
    """Send the change announcements that did not reach the web processes right after their commit."""
    from sites import change_stream

    change_stream.send_due_announcements(now=now)


@periodic_task()
def thin_revisions(now: datetime) -> None:
    """Delete revisions so that fewer remain the older they are."""
    from sites.services import drafts

    drafts.thin_revisions(now=now)


@periodic_task()
def publish_scheduled(now: datetime) -> None:
    """Carry out scheduled changes of sites and publish posts, as far as they are due."""
    from sites.services import publishing

    publishing.publish_scheduled(now=now)


@periodic_task()
def delete_expired(now: datetime) -> None:
    """Delete previews, schedules, invitations and reserved subdomains some time after their end."""
    from sites.services import members, previews, publishing, reservations

    with tenancy.context(tenancy.SYSTEM):
        previews.delete_expired_previews(before=now - timedelta(days=1))
        publishing.delete_finished_schedules(before=now - timedelta(days=30))
        members.delete_expired_invitations(before=now - timedelta(days=30))
        reservations.delete_expired_reservations(before=now - settings.SOFT_DELETE_FOR)
