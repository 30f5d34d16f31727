"""Celery tasks of accounts. Each calls one service."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core.jobs import periodic


@shared_task
def mirror_revocations() -> None:
    """Write the revocation tombstones that could not be written to Redis at once."""
    from accounts.credentials import revocation

    revocation.mirror_missing_tombstones(now=timezone.now())


@shared_task
def mail_requested_links() -> None:
    """Mail the requested links."""
    from accounts.services import email_links

    email_links.mail_requested_links(now=timezone.now())


@shared_task
def delete_expired_proofs() -> None:
    """Delete expired mailed links and challenges, at most once an hour."""
    from accounts.services import email_links

    now = timezone.now()
    if periodic.claim_slot("forget_proofs", every=timedelta(hours=1), now=now):
        email_links.delete_expired_proofs(now=now)


@shared_task
def make_exports() -> None:
    """Build the requested archives of personal data."""
    from accounts.services import data_exports

    data_exports.make_exports(now=timezone.now())


@shared_task
def delete_expired_exports() -> None:
    """Delete archives with an expired link, at most once an hour."""
    from accounts.services import data_exports

    now = timezone.now()
    if periodic.claim_slot("forget_exports", every=timedelta(hours=1), now=now):
        data_exports.delete_expired_exports(now=now)
