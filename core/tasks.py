"""Periodic work that belongs to no single app."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core import lifecycle, tenancy
from core.http import idempotency
from core.jobs import mail, periodic


@shared_task
def purge_deleted() -> None:
    now = timezone.now()
    if periodic.claim_slot("purge_deleted", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            lifecycle.purge_expired(before=now - settings.SOFT_DELETE_FOR)


@shared_task
def delete_expired_answers() -> None:
    if periodic.claim_slot("forget_answers", every=timedelta(hours=1), now=timezone.now()):
        idempotency.delete_expired()


@shared_task
def deliver_mail() -> None:
    mail.deliver_due_mail(now=timezone.now())


@shared_task
def delete_expired_mail() -> None:
    now = timezone.now()
    if periodic.claim_slot("forget_mail", every=timedelta(hours=1), now=now):
        mail.delete_expired(before=now - mail.RETENTION)
