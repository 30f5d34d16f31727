"""Periodic work that belongs to no single app."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core import idempotency, jobs, lifecycle, mail, tenancy


@shared_task
def purge_deleted() -> None:
    now = timezone.now()
    if jobs.claim_slot("purge_deleted", every=timedelta(hours=1), now=now):
        with tenancy.context(tenancy.SYSTEM):
            lifecycle.purge(before=now - settings.SOFT_DELETE_FOR)


@shared_task
def forget_answers() -> None:
    if jobs.claim_slot("forget_answers", every=timedelta(hours=1), now=timezone.now()):
        idempotency.forget()


@shared_task
def deliver_mail() -> None:
    mail.deliver(now=timezone.now())


@shared_task
def forget_mail() -> None:
    now = timezone.now()
    if jobs.claim_slot("forget_mail", every=timedelta(hours=1), now=now):
        mail.forget(before=now - mail.KEPT_FOR)
