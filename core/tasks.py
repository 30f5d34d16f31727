"""Periodic tasks of core: purging deleted rows, stored answers and mail."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core import lifecycle, tenancy
from core.http import idempotency
from core.jobs import mail, periodic


@shared_task
def purge_deleted() -> None:
    """Delete for good what was soft-deleted longer than SOFT_DELETE_FOR ago."""
    now = timezone.now()
    if periodic.claim_slot("purge_deleted", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            lifecycle.purge_expired(before=now - settings.SOFT_DELETE_FOR)


@shared_task
def delete_expired_answers() -> None:
    """Delete the answers that were stored for an Idempotency-Key more than a day ago."""
    if periodic.claim_slot("forget_answers", every=timedelta(hours=1), now=timezone.now()):
        idempotency.delete_expired()


@shared_task
def deliver_mail() -> None:
    """Send the mails that are due."""
    mail.deliver_due_mail(now=timezone.now())


@shared_task
def delete_expired_mail() -> None:
    """Delete the rows of mails after their retention."""
    now = timezone.now()
    if periodic.claim_slot("forget_mail", every=timedelta(hours=1), now=now):
        mail.delete_expired(before=now - mail.RETENTION)
