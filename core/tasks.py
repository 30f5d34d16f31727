"""Periodic tasks of core: purging deleted rows, stored answers and mail."""

from datetime import datetime

from django.conf import settings

from core import lifecycle, tenancy
from core.http import idempotency
from core.jobs import mail
from core.jobs.periodic import periodic_task


@periodic_task()
def purge_deleted(now: datetime) -> None:
    """Delete for good what was soft-deleted longer than SOFT_DELETE_FOR ago."""
    with tenancy.context(tenancy.SYSTEM):
        lifecycle.purge_expired(before=now - settings.SOFT_DELETE_FOR)


@periodic_task()
def delete_expired_answers(now: datetime) -> None:
    """Delete the answers that were stored for an Idempotency-Key more than a day ago."""
    idempotency.delete_expired()


@periodic_task()
def deliver_mail(now: datetime) -> None:
    """Send the mails that are due."""
    mail.deliver_due_mail(now=now)


@periodic_task()
def delete_expired_mail(now: datetime) -> None:
    """Delete the rows of mails after their retention."""
    mail.delete_expired(before=now - mail.RETENTION)
